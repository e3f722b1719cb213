//! `bulla provider`.

mod config;
mod serve;

use crate::args::Provider;
use crate::failure::Failure;

pub(crate) fn run(subcommand: &Provider) -> Result<(), Failure> {
    match subcommand {
        Provider::Serve(options) => serve::serve(options),
        Provider::Config(subcommand) => config::run(subcommand),
    }
}
