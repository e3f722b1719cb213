//! Intel TDX: a guest asks its module for reports, its host for quotes and its key provider for keys, or its module where
//! that can.

mod arch;
#[cfg(target_os = "linux")]
mod device;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod keys;
mod native;
#[cfg(target_os = "linux")]
mod qgs;
#[cfg(target_os = "linux")]
mod quote;
#[cfg(target_os = "linux")]
mod registers;

pub use arch::{
    KEYPOLICY_MRTD, KEYPOLICY_RTMR0, QuoteHeader, TdInfo, TdKeyRequest, TdQuoteBody, TdReport, TeeTcbInfo,
    attributes,
};
#[cfg(target_os = "linux")]
pub use guest::{QuotePath, TdxGuest};
pub use native::NativeRequest;
#[cfg(target_os = "linux")]
pub use qgs::QuoteService;
#[cfg(target_os = "linux")]
pub use registers::RuntimeRegister;
