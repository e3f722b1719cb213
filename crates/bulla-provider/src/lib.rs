//! Floor 4 of bulla: the key provider. It runs in an SGX enclave and gives each TDX guest on the same machine a key
//! derived from that guest's measurements, which is the sealing key that TDX itself does not have.
//!
//! One request walks one way, through one module per step:
//!
//! ```text
//! admit → challenge → verify → colocate → authorize → derive → wrap → record → sign → answer
//! ```
//!
//! | step | what it settles |
//! |---|---|
//! | `admit` | who may hold a connection and memory, and for how long; the frames of both listeners |
//! | `challenge` | that a v1 order is fresh and came over the connection that asked for it |
//! | `verify` | that the quote is genuine, and its platform and guest acceptable |
//! | `colocate` | that the guest runs on this machine |
//! | `authorize` | that the evidence is for this request, and which registers bind the key |
//! | `derive` | the key (`docs/spec/derivation.md`) |
//! | `wrap` | encryption to the guest's one-time public key |
//! | `record` | the line in the audit log, on the disk before the key leaves |
//! | `sign` | proof that this provider made the answer, and which head its audit log has |
//! | `answer` | the walk itself |
//!
//! Over TLS a guest shows its evidence once, and `session` gives it keys by the last steps alone.
//!
//! What peers and provider say to each other is in `docs/spec/protocol.md`. The library takes any
//! [`bulla_tee::Tee`]; only the command knows how to make one, and nothing here knows the simulator.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use bulla_attest::{CollateralSource, TrustAnchor};
//! use bulla_provider::{Error, Listeners, Provider, Settings};
//! use bulla_tee::Tee;
//!
//! fn run(tee: Arc<dyn Tee>, collateral: Arc<dyn CollateralSource>) -> Result<(), Error> {
//!     let settings = Settings::load("provider.toml".as_ref())?;
//!     let provider = Provider::start(tee, collateral, TrustAnchor::intel(), &settings)?;
//!     eprintln!("{}", provider.identity());
//!     bulla_provider::runtime()?.block_on(async {
//!         let listeners = Listeners::bind(&settings).await?;
//!         bulla_provider::serve(provider, listeners, std::future::pending()).await
//!     })
//! }
//! ```

mod admin;
mod admit;
mod answer;
pub mod audit;
mod authorize;
mod challenge;
mod clock;
mod colocate;
mod custody;
mod derive;
mod drain;
mod error;
mod health;
mod limits;
mod machine;
mod metrics;
mod operation;
mod own;
mod policy;
mod provider;
mod record;
mod refusal;
mod regime;
mod registers;
mod session;
mod settings;
mod sign;
mod supervisor;
mod verify;
mod work;
mod wrap;

pub use admin::{Command, CommandDocument};
pub use admit::{Listeners, serve};
pub use custody::{Candidate, CustodyError, Drilled, Holder, Purpose};
pub use error::Error;
pub use policy::{DEVELOPMENT_AUTHORITY, Draft, Policy, PolicyError, Warning};
pub use provider::{Provider, ProviderIdentity};
pub use settings::{
    CollateralSettings, Explained, Finding, LimitSettings, Listen, LogFormat, LogSettings, Rate, Settings,
    Weight,
};
pub use supervisor::Supervisor;
pub use work::runtime;
