//! Intel TDX: a guest asks its module for reports, its host for quotes and its key provider for keys.

mod arch;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod quote;
#[cfg(target_os = "linux")]
mod registers;

pub use arch::{QuoteHeader, TdInfo, TdQuoteBody, TdReport, TeeTcbInfo, attributes};
#[cfg(target_os = "linux")]
pub use guest::TdxGuest;
#[cfg(target_os = "linux")]
pub use registers::RuntimeRegister;
