//! What a cause means, and what to do about it.

/// A cause in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What was the case; a sentence.
    pub meaning: &'static str,
    /// What to do; a sentence.
    pub action: &'static str,
}

/// What a cause of a refusal means and what to do about it (R55). `None` for a cause of a later version.
pub fn advice(cause: &str) -> Option<Advice> {
    let exact = CAUSES.iter().find(|(name, ..)| *name == cause);
    let kind = || CAUSES.iter().find(|(name, ..)| name.ends_with('.') && cause.starts_with(name));
    exact.or_else(kind).map(|&(_, meaning, action)| Advice { meaning, action })
}

const OTHER_CLIENT: &str = "Update the client; if it is not yours, somebody else is trying.";
const AGAIN: &str = "Nothing, if the client tries again; otherwise have it do so.";
const GUEST_START: &str = "Start the guest without this, or have the authority's policy allow it.";
const UPDATE_PLATFORM: &str =
    "Update firmware and microcode of this machine, or have the authority's policy allow its present state.";
const OWN_SERVICE: &str = "Look at the quoting service of this machine (AESM or the quote device) and restart it; no key leaves meanwhile.";
const COLLATERAL: &str = "Make Intel's collateral reachable ([collateral] in the settings), or import a bundle with bulla attest collateral import.";
const REPORT: &str = "Report it: a provider that is well does not do this.";

/// Names, or beginnings of names that end with a full stop.
const CAUSES: &[(&str, &str, &str)] = &[
    // What arrived.
    ("malformed", "The bytes were no request.", OTHER_CLIENT),
    ("malformed.", "The connection ended or went wrong before the request was whole.", OTHER_CLIENT),
    (
        "unsupported",
        "The request needs a version, suite or kind that this provider does not know.",
        OTHER_CLIENT,
    ),
    ("suite.", "The request needs a suite that this provider does not know.", OTHER_CLIENT),
    ("evidence.not_tdx", "The evidence is not of a TDX guest.", "Ask from inside a TDX guest."),
    ("evidence.", "The evidence is of a kind that this provider does not judge.", OTHER_CLIENT),
    ("too-large", "The request was above a limit of size.", OTHER_CLIENT),
    ("not-found", "Nothing is served under this address.", "Correct the client's URL."),
    (
        "timeout",
        "The request took too long to arrive.",
        "Look at the network between guest and provider, or at the peer.",
    ),
    ("parse.", "The evidence is no well-formed quote.", OTHER_CLIENT),
    ("public_key.", "The key to encrypt to is of low order or not canonical.", OTHER_CLIENT),
    (
        "algorithm.",
        "The algorithm does not have the length or the use that was asked for.",
        "Correct the request.",
    ),
    // Room.
    ("busy.gave_way", "The connection had sent nothing for longest when the places ran out.", AGAIN),
    (
        "platform.other_vendor",
        "The evidence is of a machine of another vendor, which is never this one.",
        "Ask the provider on the guest's own machine.",
    ),
    (
        "not_ready.draining",
        "The provider was told to take no more requests.",
        "Resume it, or start it again.",
    ),
    (
        "quota.identity",
        "This guest has had as many keys as the settings give one attested identity.",
        "If it needs more, raise limits.identity; if not, find out what it does with them.",
    ),
    (
        "quota.peer",
        "This address has made as many requests as the settings allow.",
        "If it needs more, raise limits.peer; guests behind one forwarder share its address.",
    ),
    (
        "busy",
        "All places for connections or requests were taken.",
        "If it lasts, find who holds them: many idle connections from one peer are an attack.",
    ),
    (
        "busy.",
        "The memory for requests that are arriving was used up.",
        "If it lasts, find who sends large requests slowly.",
    ),
    (
        "limits.",
        "The peer or guest asked more often than the settings allow.",
        "Raise the limit in [limits], or have the guest keep its keys.",
    ),
    (
        "quota",
        "The peer or guest asked more often than allowed.",
        "Raise the limit, or have the guest keep its keys.",
    ),
    (
        "audit.busy",
        "More releases wait for the disk than may wait.",
        "Look at the disk of state_dir: it is too slow.",
    ),
    (
        "audit.stalled",
        "The disk of the audit log does not answer, so no key leaves.",
        "Look at the disk of state_dir, and at what else uses it; the provider goes on by itself.",
    ),
    (
        "audit.unwritable",
        "The audit log could not be written, so no key left.",
        "Free space on the disk of state_dir, or mend it; the provider goes on by itself.",
    ),
    // Freshness and binding.
    ("challenge.expired", "The guest took more than a minute between challenge and request.", AGAIN),
    (
        "challenge.used",
        "A challenge was used twice: a replay, or a client that repeats requests as they are.",
        "Have the client take a new challenge for each request.",
    ),
    (
        "challenge.foreign",
        "A challenge came over another connection than it was given on, or from before a restart or another policy or root.",
        AGAIN,
    ),
    ("challenge.", "The challenge is none of this provider's.", OTHER_CLIENT),
    ("binding.provider_key", "The request is for another run of the provider.", AGAIN),
    (
        "binding.report_data",
        "The evidence was made for another request: a byte was changed on the way, or the evidence was copied.",
        "Look at what stands between guest and provider; if nothing does, update the client.",
    ),
    ("binding.", "The request names a binding that this provider does not know.", OTHER_CLIENT),
    ("session", "The session has ended.", AGAIN),
    ("session.", "The session has ended.", AGAIN),
    // The guest.
    ("policy.debug", "The guest runs in debug mode, where its host can read its memory.", GUEST_START),
    (
        "policy.simulated",
        "Evidence of a simulated machine came to a provider on a real one, or the other way round.",
        "Never mix simulated and real machines.",
    ),
    (
        "policy.tcb_status",
        "The platform's security version is below what the policy accepts.",
        UPDATE_PLATFORM,
    ),
    (
        "policy.advisories",
        "A security advisory applies to the platform that the policy does not accept.",
        UPDATE_PLATFORM,
    ),
    (
        "policy.platform",
        "The machine is not on the policy's list.",
        "Have the authority add the machine to [platforms].",
    ),
    (
        "policy.classical",
        "The guest asked for classical encryption, which the policy does not allow.",
        "Update the client, or have the authority allow [transport] classical.",
    ),
    (
        "policy.registers",
        "A register of the guest is not what the policy asks for.",
        "Compare the guest's image with the one the policy was written for.",
    ),
    (
        "policy.config_register",
        "MRCONFIGID, MROWNER or MROWNERCONFIG is not what the policy asks for.",
        GUEST_START,
    ),
    (
        "policy.usage",
        "The policy's usage rules do not give this guest this key.",
        "Have the authority add a [[usage]] rule for the path.",
    ),
    ("policy.", "The guest or its platform is in a state that the policy does not accept.", GUEST_START),
    (
        "usage.",
        "The policy's usage rules do not give this guest this key.",
        "Have the authority add a [[usage]] rule for the path.",
    ),
    (
        "legacy.disabled",
        "A legacy client asked, and the policy has no [legacy] section.",
        "Move the client to protocol v1, or have the authority's policy serve legacy clients.",
    ),
    (
        "legacy.",
        "A register that the legacy formula leaves out is not zero, and the policy does not list its value.",
        "Start the guest without it, have the policy list it in [legacy], or move the guest to protocol v1.",
    ),
    (
        "manifest.missing",
        "The owner binding needs a manifest, and the request had none.",
        "Give the guest the owner's manifest.",
    ),
    (
        "manifest.image",
        "The manifest is for another image than the one that runs.",
        "Have the owner sign a manifest for this image; bulla manifest compare shows what differs.",
    ),
    (
        "manifest.svn",
        "The guest asked for a higher SVN than its manifest grants.",
        "Have the owner sign a manifest with this SVN, or ask for the lower one.",
    ),
    (
        "manifest.owner",
        "The manifest is signed by another owner than the request names.",
        "Give the guest the manifest of its owner.",
    ),
    (
        "manifest.product",
        "The manifest is for another product than the request names.",
        "Give the guest the manifest of this product.",
    ),
    (
        "manifest.",
        "The manifest does not verify.",
        "Have the owner sign it again; bulla manifest show says what it holds.",
    ),
    (
        "signed.",
        "A signed document does not verify.",
        "Have it signed again by enough keys of its descriptor.",
    ),
    (
        "described.",
        "The described guest lacks registers that the binding needs.",
        "Describe every register of the binding.",
    ),
    (
        "registers.",
        "The request names a register policy that this provider does not have, or that binds too little.",
        "Have the authority add it to [[registers]], or correct the request.",
    ),
    (
        "event_log.",
        "The binding needs registers as they were at an event, and the request's event log does not show it.",
        "Send the guest's event log, and extend the registers only after the key was fetched.",
    ),
    (
        "root.unknown",
        "The key comes from a root that this provider does not have: another provider's, or a retired one.",
        "Ask the provider that the key came from, or restore its roots.",
    ),
    (
        "root.",
        "The root of this key was retired.",
        "Open what it sealed with a recovery slot, and seal it anew.",
    ),
    // The platform.
    (
        "platform.mismatch",
        "The guest runs on another machine than the provider.",
        "Run a provider on the guest's machine, and forward the guest's requests to that one.",
    ),
    (
        "platform.other_model",
        "The guest runs on another model of machine than the provider.",
        "Run a provider on the guest's machine, and forward the guest's requests to that one.",
    ),
    ("tcb.", "The platform's security version is unknown or revoked.", UPDATE_PLATFORM),
    ("tdx_module.", "The TDX module is not one that Intel's collateral knows.", UPDATE_PLATFORM),
    (
        "revoked",
        "A certificate of the platform was revoked by its vendor.",
        "Take the machine out of service and ask its vendor.",
    ),
    (
        "pck.",
        "The quote carries no good certificate chain of a platform.",
        "Register the platform with its vendor, and have its quoting service fetch its certificates.",
    ),
    ("root_ca", "The vendor's root certificate is not one that is trusted.", OTHER_CLIENT),
    (
        "qe_report.",
        "The quoting enclave's report does not hold: the quote is forged or damaged.",
        OTHER_CLIENT,
    ),
    ("quote.", "The quote's signature does not hold: it is forged or damaged.", OTHER_CLIENT),
    (
        "report.",
        "The local report does not hold: it is of another machine or boot, forged or damaged.",
        "Ask from a guest on this machine, with a fresh report.",
    ),
    ("snp.", "The SEV-SNP report does not hold.", OTHER_CLIENT),
    ("snp_chain.", "The chain of AMD's certificates is missing, expired or damaged.", COLLATERAL),
    ("snp_crl.", "The list of revoked AMD platforms is missing, expired or damaged.", COLLATERAL),
    ("ra_tls.", "The certificate carries no good evidence.", OTHER_CLIENT),
    // What the provider judges with.
    (
        "collateral.rollback",
        "The collateral is older than what was seen before.",
        "Look at who serves the collateral: it went back.",
    ),
    ("collateral.", "There was no good collateral to judge the evidence with.", COLLATERAL),
    ("tcb_info.", "Intel's TCB info is missing, expired or damaged.", COLLATERAL),
    ("qe_identity.", "Intel's QE identity is missing, expired or damaged.", COLLATERAL),
    ("pck_crl.", "The list of revoked platforms is missing, expired or damaged.", COLLATERAL),
    ("root_crl.", "The root's list of revocations is missing, expired or damaged.", COLLATERAL),
    ("bundle.", "The bundle of collateral is damaged or incomplete.", COLLATERAL),
    ("store.", "The folder of collateral cannot be used.", COLLATERAL),
    ("floor.", "The remembered floor of collateral is damaged or of another root.", COLLATERAL),
    ("clock.", "The host's clock went back, or stands before what was issued.", "Set the host's clock."),
    // The provider itself.
    ("self.being_proved", "The provider was proving itself anew at this moment.", AGAIN),
    ("self.", "The quote that this machine made is not this provider's own.", OWN_SERVICE),
    ("machine.", "The processor or quoting service of this machine refused.", OWN_SERVICE),
    ("request.", "The processor refused what was recorded of the root.", "Restore state_dir from its copy."),
    (
        "custody.",
        "The roots are not as the provider remembers them.",
        "Restore state_dir; docs/spec/custody.md says what each file is.",
    ),
    ("entropy.", "There was no good randomness.", "Take the machine out of service: its randomness fails."),
    ("not-ready", "The provider is draining or not ready.", AGAIN),
    ("internal", "The provider failed.", REPORT),
    ("internal.", "The provider failed.", REPORT),
];

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The literals of a source file that follow one of these words closely.
    fn names(text: &str, words: &[&str], into: &mut Vec<String>) {
        let text = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        for word in words {
            for rest in text.split(word).skip(1) {
                let end = rest.find(';').unwrap_or(rest.len()).min(160);
                let statement: String = rest.chars().take(end).collect();
                into.extend(statement.split('"').skip(1).step_by(2).take(1).map(Into::into));
            }
        }
    }

    fn sources(folder: &Path, words: &[&str], into: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                sources(&path, words, into);
            } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
                names(&fs::read_to_string(path).unwrap(), words, into);
            }
        }
    }

    /// R55: whatever a request can be refused for, the operator is told in words what it means and what to do.
    #[test]
    fn every_cause_has_its_sentence() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut causes = Vec::new();
        let makers = ["Refusal::new(", "Refusal::from(", "invalid(", "distrust(", "stale("];
        sources(&here.join("src"), &makers, &mut causes);
        assert!(causes.len() > 30, "{causes:?}");
        // In the steps of the walk every name with a full stop is a cause, however it gets into its refusal.
        for step in [
            "answer",
            "authorize",
            "challenge",
            "clock",
            "colocate",
            "derive",
            "limits",
            "own",
            "sign",
            "wrap",
        ] {
            let text = fs::read_to_string(here.join("src").join(step).with_extension("rs")).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            causes.extend(text.split('"').skip(1).step_by(2).map(Into::into));
        }
        // What the verifier of evidence says passes through.
        names(&fs::read_to_string(here.join("../bulla-attest/src/error.rs")).unwrap(), &["=> "], &mut causes);
        causes.retain(|cause| cause.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '.' | '_' | '-')));
        causes.retain(|cause| cause.trim_matches('.').contains('.'));
        assert!(causes.iter().any(|cause| cause == "quote.signature"), "{causes:?}");
        for cause in causes {
            assert!(advice(&cause).is_some(), "{cause} has no sentence");
        }
        assert_eq!(advice("of.a.later.version"), None);
    }

    /// A code that stands for itself has one too.
    #[test]
    fn sentences_are_sentences_and_the_more_precise_one_is_taken() {
        for code in ["malformed", "too-large", "not-found", "busy", "timeout", "unsupported", "internal"] {
            assert!(advice(code).is_some(), "{code}");
        }
        for (name, meaning, action) in CAUSES {
            assert!(meaning.ends_with('.') && action.ends_with('.') && meaning.len() >= 20, "{name}");
            assert_eq!(CAUSES.iter().filter(|(other, ..)| other == name).count(), 1, "{name}");
        }
        assert!(advice("challenge.used").unwrap().meaning.contains("twice"));
        assert!(advice("challenge.something").unwrap().meaning.contains("none of this"));
    }
}
