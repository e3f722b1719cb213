//! What keeps a platform from the best level that its vendor lists, by name.

use std::borrow::Cow;
use std::fmt;

use dcap_qvl::tcb_info::{SvnComponent, SvnShortfall, TdxModuleTcbLevel};
use dcap_qvl::{QeIdentity, TcbInfo, TcbLevel, TcbStatus};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::{IntelPlatform, Shortfall};

/// The longest name of a component that is repeated.
const NAME_MAX: usize = 64;

/// What a shortfall of the quoting enclave is called.
pub(crate) const QUOTING_ENCLAVE: &str = "quoting enclave SVN";

/// The security versions of one platform, as its evidence states them.
pub(crate) struct Versions<'a> {
    pub(crate) platform: &'a IntelPlatform,
    /// Of a TDX guest.
    pub(crate) tee_tcb_svn: Option<&'a [u8; 16]>,
    /// Of the quoting enclave, where one took part.
    pub(crate) qe_isvsvn: Option<u16>,
}

/// What falls short of the best level, TDX module first. `names` are asked for where a component does.
pub(crate) fn shortfalls(
    versions: &Versions<'_>,
    tcb_info: &TcbInfo,
    names: impl FnOnce() -> Names,
    qe_identity: &QeIdentity,
) -> Vec<Shortfall> {
    let of_platform = below_best(versions, tcb_info);
    let mut found: Vec<_> = module(versions, tcb_info).into_iter().collect();
    if !of_platform.is_empty() {
        let names = names();
        found.extend(of_platform.iter().map(|short| names.describe(*short)));
    }
    found.extend(quoting_enclave(versions, qe_identity));
    found
}

/// What the platform lacks for the level that is nearest among the best ones.
fn below_best(versions: &Versions<'_>, tcb_info: &TcbInfo) -> Vec<SvnShortfall> {
    let lacks = |level: &TcbLevel| {
        let Versions { platform, tee_tcb_svn, .. } = versions;
        level.shortfalls(&platform.cpusvn, platform.pcesvn, *tee_tcb_svn).ok()
    };
    let up_to_date = tcb_info.tcb_levels.iter().filter(|level| level.tcb_status == TcbStatus::UpToDate);
    if let Some(nearest) = up_to_date.filter_map(lacks).min_by_key(Vec::len) {
        return nearest;
    }
    let height = |level: &&TcbLevel| {
        let tcb = &level.tcb;
        (tcb.sgx_components.clone(), tcb.pce_svn, tcb.tdx_components.clone())
    };
    tcb_info.tcb_levels.iter().max_by_key(height).and_then(lacks).unwrap_or_default()
}

fn module(versions: &Versions<'_>, tcb_info: &TcbInfo) -> Option<Shortfall> {
    let svn = versions.tee_tcb_svn?;
    let levels = &tcb_info.tdx_module_identity(svn).ok()??.tcb_levels;
    let up_to_date = |level: &&TdxModuleTcbLevel| level.tcb_status == TcbStatus::UpToDate;
    let wanted = levels.iter().filter(up_to_date).map(|level| level.tcb.isvsvn).min()?;
    (svn[0] < wanted).then(|| Shortfall {
        component: "TDX module SVN".into(),
        found: svn[0].into(),
        wanted: wanted.into(),
        remedy: "update the TDX module",
        certified: false,
    })
}

fn quoting_enclave(versions: &Versions<'_>, identity: &QeIdentity) -> Option<Shortfall> {
    let found = versions.qe_isvsvn?;
    let up_to_date = identity.tcb_levels.iter().filter(|level| level.tcb_status == TcbStatus::UpToDate);
    let wanted = up_to_date.map(|level| level.tcb.isvsvn).min()?;
    (found < wanted).then(|| Shortfall {
        component: QUOTING_ENCLAVE.into(),
        found,
        wanted,
        remedy: "update the quoting enclave (Intel's DCAP packages)",
        certified: false,
    })
}

/// What the document calls the components: the same in every level, where it calls them anything.
#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) struct Names {
    #[serde(default)]
    sgxtcbcomponents: Vec<Name>,
    #[serde(default)]
    tdxtcbcomponents: Vec<Name>,
}

#[derive(Clone, Default, Deserialize)]
struct Name {
    #[serde(default)]
    category: String,
    #[serde(default, rename = "type")]
    kind: String,
}

impl Names {
    /// `text` is the TCB info as it was signed: `dcap-qvl` drops the names. What is behind the first level is not read.
    pub(crate) fn read(text: &str) -> Self {
        let mut first = None;
        // An error where there is more, which there always is.
        let _ = serde_json::Deserializer::from_str(text).deserialize_map(FirstLevel(&mut first));
        first.map(|level| level.tcb).unwrap_or_default()
    }

    fn describe(&self, short: SvnShortfall) -> Shortfall {
        let (component, remedy) = match short.component {
            SvnComponent::Sgx(index) => {
                named("SGX TCB component", index, self.sgxtcbcomponents.get(usize::from(index)))
            }
            SvnComponent::Tdx(index) => {
                named("TDX TCB component", index, self.tdxtcbcomponents.get(usize::from(index)))
            }
            SvnComponent::PceSvn => {
                ("PCESVN".to_owned(), "update the provisioning certification enclave (Intel's DCAP packages)")
            }
            SvnComponent::TdxModuleIsvSvn => ("TDX module SVN".to_owned(), "update the TDX module"),
        };
        let certified = matches!(short.component, SvnComponent::Sgx(_) | SvnComponent::PceSvn);
        Shortfall { component, found: short.have, wanted: short.needs, remedy, certified }
    }
}

/// One of the levels of a document.
#[derive(Deserialize)]
struct Level {
    tcb: Names,
}

/// Looks for the first level.
struct FirstLevel<'a>(&'a mut Option<Level>);

impl<'de> Visitor<'de> for FirstLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("levels")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut document: A) -> Result<(), A::Error> {
        while let Some(key) = document.next_key::<Cow<'de, str>>()? {
            if key == "tcbLevels" {
                return document.next_value_seed(self);
            }
            document.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut levels: A) -> Result<(), A::Error> {
        *self.0 = levels.next_element()?;
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for FirstLevel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, levels: D) -> Result<(), D::Error> {
        levels.deserialize_seq(self)
    }
}

/// Components are counted from 1, as in Intel's documents.
fn named(what: &str, index: u8, name: Option<&Name>) -> (String, &'static str) {
    let (kind, category) = name.map_or(("", ""), |name| (name.kind.as_str(), name.category.as_str()));
    let shown: String = if kind.is_empty() { category } else { kind }.chars().take(NAME_MAX).collect();
    let number = u16::from(index) + 1;
    let component =
        if shown.is_empty() { format!("{what} {number}") } else { format!("{what} {number} ({shown})") };
    let remedy = match (kind, category) {
        ("TDX Module", _) => "update the TDX module",
        ("SEAMLDR ACM", _) => "update the SEAM loader (with the host's firmware or TDX packages)",
        ("TXT SINIT", _) => "update the SINIT module (with the host's firmware)",
        (kind, "OS/VMM") if kind.contains("Microcode") => {
            "load newer microcode from the host's operating system"
        }
        (kind, _) if kind.contains("Microcode") => "update the BIOS, which brings the microcode",
        (_, "BIOS") => "update the BIOS",
        _ => "update BIOS and microcode",
    };
    (component, remedy)
}
