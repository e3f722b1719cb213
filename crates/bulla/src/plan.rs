//! Will it open after a change? Asked before the change is made (R88).

use bulla_tee::{Doubt, Error as MachineError, Floor, Identity, KeyRequest, Outlook, PlatformState, Tee};

use crate::{Error, Header, Opener};

/// A change that is planned.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Change {
    /// The machine's microcode is updated.
    MicrocodeUp,
    /// The machine's microcode goes back.
    MicrocodeDown,
    /// The machine's firmware is updated, or it is registered anew: either can end its keys.
    FirmwareUpdate,
    /// The envelope goes to another machine.
    Host,
    /// Another program, or another version of it, is to open the envelope on this machine.
    Identity(Box<Identity>),
    /// What is accepted rises to this floor.
    Floor(Floor),
}

/// What is to be expected of an envelope after a change.
#[derive(Debug)]
pub struct Forecast {
    /// Whether it will open.
    pub verdict: Verdict,
    /// The slot that the verdict rests on; `None` if there is none.
    pub slot: Option<usize>,
    /// The register or the version that decides, if one does.
    pub field: Option<&'static str>,
    /// Why, in words.
    pub reason: String,
    /// What to do before the change; `None` if there is nothing to do.
    pub remedy: Option<&'static str>,
}

/// Whether an envelope will open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// It will.
    Opens,
    /// Not by a machine, but with the private keys that it is for besides.
    ByKeys,
    /// Only the machine can say, when it is done.
    MayNot,
    /// It will not.
    DoesNot,
}

/// Says what is to be expected of the envelope with this header, which may be a claim, when `change` has been made to the
/// machine `tee` or to what runs there. Nothing is changed and nothing is written.
///
/// The machine is asked whether it gives the key of a slot at present, since that is where a plan starts from.
///
/// ```
/// # let dir = tempfile::tempdir()?;
/// # let machine = bulla_sim::Machine::create(dir.path())?;
/// # let machine = machine.enclave(&bulla_sim::EnclaveIdentity::of_this_process(&machine)?)?;
/// use bulla::{Header, plan};
///
/// let sealed = bulla::seal(&machine, "wallet", b"correct horse")?;
/// let header = Header::read(&mut sealed.as_slice())?;
/// let update = plan::forecast(&header, Some(&machine), &plan::Change::MicrocodeUp)?;
/// assert_eq!(update.verdict, plan::Verdict::Opens);
/// let downgrade = plan::forecast(&header, Some(&machine), &plan::Change::MicrocodeDown)?;
/// assert_eq!((downgrade.verdict, downgrade.field), (plan::Verdict::DoesNot, Some("CPUSVN")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of the machine itself; that it refuses a key is part of the answer.
pub fn forecast(header: &Header, tee: Option<&dyn Tee>, change: &Change) -> Result<Forecast, Error> {
    let here = match tee {
        Some(tee) => Some((tee, tee.identity()?)),
        None => None,
    };
    let mut machine: Option<Forecast> = None;
    let mut keys = None;
    for (index, slot) in header.slots().iter().enumerate() {
        let Opener::Machine(request) = slot.opener() else {
            keys.get_or_insert((index, slot.kind()));
            continue;
        };
        let forecast = match &here {
            Some((tee, identity)) => of_request(index, request, *tee, identity, change)?,
            None => Forecast::unknown(index, Doubt::Machine),
        };
        if machine.as_ref().is_none_or(|best| forecast.verdict < best.verdict) {
            machine = Some(forecast);
        }
    }
    let forecast = of_slots(machine, keys, change);
    match change {
        // Whoever opens it, its epoch is looked at after that.
        Change::Floor(floor) if forecast.verdict != Verdict::DoesNot => {
            match floor.check_epoch(header.epoch().unwrap_or(0)) {
                Ok(()) => Ok(forecast),
                Err(error) => Ok(Forecast::refused(forecast.slot, error, change)),
            }
        }
        _ => Ok(forecast),
    }
}

/// What becomes of an envelope, by the best of its machine slots and the first of the others.
fn of_slots(machine: Option<Forecast>, keys: Option<(usize, &str)>, change: &Change) -> Forecast {
    match (machine, keys) {
        (Some(machine), Some((index, kind))) if machine.verdict != Verdict::Opens => Forecast {
            verdict: Verdict::ByKeys,
            slot: Some(index),
            reason: format!("{}; the private keys of its {kind} slot open it", machine.reason),
            remedy: Some(match change {
                Change::Identity(_) => HAND_OVER,
                _ => "have the private keys at hand",
            }),
            ..machine
        },
        (Some(machine), _) => machine,
        // Private keys do not care what becomes of machines.
        (None, Some((index, kind))) => Forecast {
            verdict: Verdict::Opens,
            slot: Some(index),
            field: None,
            reason: format!("the private keys of its {kind} slot open it, on any machine"),
            remedy: None,
        },
        (None, None) => Forecast {
            verdict: Verdict::DoesNot,
            slot: None,
            field: None,
            reason: "nobody can open it: its last slot was dropped".into(),
            remedy: None,
        },
    }
}

const ADD_RECOVERY: &str = "add a recovery slot first (`bulla rewrap --add-recovery`)";
const HAND_OVER: &str =
    "hand it over while the present program runs: `bulla successor request`, `admit`, `adopt`";

fn of_request(
    index: usize,
    request: &KeyRequest,
    tee: &dyn Tee,
    identity: &Identity,
    change: &Change,
) -> Result<Forecast, Error> {
    if let Change::Floor(floor) = change
        && let Err(error) = floor.check(request)
    {
        return Ok(Forecast::of(index, Outlook::DoesNot(error), change));
    }
    // A plan starts from what the machine gives now.
    let here = PlatformState::here(identity);
    let outlook = match (tee.derive(request), change) {
        (Ok(_), _) => outlook(request, identity, here.confirmed(), change),
        // The other machine may be the very one that the slot is for.
        (Err(MachineError::OtherMachine), Change::Host) => request.opens_under(identity, &here),
        // No change of this machine makes it the right one.
        (Err(MachineError::OtherMachine), _) => outlook(request, identity, here.with_other_keys(), change),
        // It is the right one, which is found out first; its microcode is too old, by how much is not known.
        (Err(MachineError::TcbTooOld { register: "CPUSVN", .. }), Change::MicrocodeUp) => {
            Outlook::MayNot(Doubt::Cpusvn)
        }
        (Err(MachineError::TcbTooOld { register: "CPUSVN", .. }), Change::Host) => {
            Outlook::DoesNot(MachineError::OtherMachine)
        }
        // Below its TCB a SEV-SNP machine cannot say whether it is the right one.
        (Err(MachineError::TcbTooOld { register: "TCB", .. }), Change::MicrocodeUp | Change::Host) => {
            Outlook::MayNot(Doubt::Machine)
        }
        (Err(now @ MachineError::TcbTooOld { register: "CPUSVN" | "TCB", .. }), Change::Identity(next)) => {
            Outlook::DoesNot(request.opens_under(next, &here).into_result().err().unwrap_or(now))
        }
        // What is refused to this program may be for another one.
        (Err(MachineError::OtherIdentity(_) | MachineError::TcbTooOld { .. }), Change::Identity(_)) => {
            outlook(request, identity, here, change)
        }
        (
            Err(
                now @ (MachineError::OtherIdentity(_)
                | MachineError::TcbTooOld { .. }
                | MachineError::WrongBackend { .. }),
            ),
            _,
        ) => Outlook::DoesNot(now),
        (Err(failure), _) => return Err(failure.into()),
    };
    Ok(Forecast::of(index, outlook, change))
}

fn outlook(request: &KeyRequest, identity: &Identity, state: PlatformState, change: &Change) -> Outlook {
    match change {
        Change::MicrocodeUp => request.opens_under(identity, &state.after_microcode_up()),
        Change::MicrocodeDown => request.opens_under(identity, &state.after_microcode_down()),
        Change::FirmwareUpdate => request.opens_under(identity, &state.after_firmware_update()),
        Change::Host => request.opens_under(identity, &state.with_other_keys()),
        Change::Identity(next) => match (request.opens_under(next, &state), identity, next.as_ref()) {
            // A provider knows them, and a request to it does not record them; it has no CPUSVN either.
            (Outlook::Opens, Identity::Tdx(present), Identity::Tdx(next))
                if present.attributes != next.attributes && request.cpusvn().is_none() =>
            {
                Outlook::MayNot(Doubt::Attributes)
            }
            (outlook, ..) => outlook,
        },
        Change::Floor(_) => request.opens_under(identity, &state),
    }
}

impl Forecast {
    fn of(slot: usize, outlook: Outlook, change: &Change) -> Self {
        let field = outlook.field();
        match outlook {
            Outlook::Opens => Self {
                verdict: Verdict::Opens,
                slot: Some(slot),
                field,
                reason: "this machine opens it".into(),
                remedy: None,
            },
            Outlook::MayNot(doubt) => Self::unknown(slot, doubt),
            Outlook::DoesNot(error @ MachineError::BelowFloor { .. }) => {
                Self::refused(Some(slot), error, change)
            }
            Outlook::DoesNot(error) => Self { field, ..Self::refused(Some(slot), error, change) },
        }
    }

    fn unknown(slot: usize, doubt: Doubt) -> Self {
        Self {
            verdict: Verdict::MayNot,
            slot: Some(slot),
            field: Some(doubt.field()),
            reason: doubt.to_string(),
            remedy: Some(match doubt {
                Doubt::Machine => "have the program that it is for say so: plan there, or open it there",
                _ => ADD_RECOVERY,
            }),
        }
    }

    fn refused(slot: Option<usize>, error: MachineError, change: &Change) -> Self {
        let remedy = match change {
            Change::Identity(_) => HAND_OVER,
            Change::Floor(_) if matches!(error, MachineError::BelowFloor { register: "epoch", .. }) => {
                "raise its epoch first: rotate it (`bulla rotate --epoch`), or vouch for it (`bulla rewrap --epoch`)"
            }
            Change::Floor(_) => {
                "refresh it at the present versions first (`bulla rewrap --refresh`), or rotate it"
            }
            Change::MicrocodeDown => "open it before, or add a recovery slot (`bulla rewrap --add-recovery`)",
            Change::MicrocodeUp | Change::FirmwareUpdate | Change::Host => ADD_RECOVERY,
        };
        let field = match &error {
            MachineError::BelowFloor { register, .. } => Some(*register),
            _ => None,
        };
        Self { verdict: Verdict::DoesNot, slot, field, reason: error.to_string(), remedy: Some(remedy) }
    }
}
