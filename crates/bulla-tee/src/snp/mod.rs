//! AMD SEV-SNP: a guest asks its security processor for reports and for keys that only this chip has.

mod arch;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod guest;
mod identity;
mod request;
#[cfg(target_os = "linux")]
mod source;

pub use arch::{KeyReq, Report, VERSIONS, field, key_info, platform, policy, status};
#[cfg(target_os = "linux")]
pub use guest::SnpGuest;
pub use identity::TcbLayout;
pub use request::SnpRequest;
