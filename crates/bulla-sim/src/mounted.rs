//! What a simulated machine shows, on a folder.

use std::path::Path;

use crate::mount::Mount;
use crate::{EnclaveIdentity, Error, Guise, Machine, Mishap};

/// The devices and pseudo-files of an enclave or guest of a simulated machine, on a folder: in it are `dev/attestation`,
/// `dev/sgx`, or `dev/tdx_guest` and `sys`. They end when this is dropped.
///
/// Root serves everybody, with the permissions that the files show; others, by `fusermount3`, themselves alone.
pub struct Mounted(Mount);

impl Mounted {
    /// Serves them. An enclave is `identity`, which a guest does not need; the mishaps happen in their order.
    ///
    /// # Errors
    /// [`Error::Mishap`] if there is nothing there to go wrong, or to be served; [`Error::Unavailable`] where FUSE is not: it
    /// needs `/dev/fuse`, and root or `fusermount3`.
    pub fn new(
        machine: &Machine,
        guise: &Guise,
        identity: &EnclaveIdentity,
        mishaps: &[Mishap],
        folder: &Path,
    ) -> Result<Self, Error> {
        guise.check(mishaps)?;
        if let Some(mishap) = mishaps.iter().find(|mishap| mishap.enclu.is_some()) {
            return Err(Error::Mishap(format!("{} happens to programs, not to files", mishap.name())));
        }
        let tree = guise.tree(machine, identity, mishaps)?.ok_or(Error::NoFiles)?;
        Mount::on(tree, folder).map(Self).map_err(|error| {
            let reason = format!("it is not served (it takes /dev/fuse, and root or fusermount3): {error}");
            Error::unavailable(folder, reason)
        })
    }

    /// A function that waits until it is unmounted, by whomever.
    pub fn end(&self) -> impl FnOnce() + Send + use<> {
        self.0.end()
    }
}
