//! The `bulla` command. `ARCHITECTURE.md` has the map; `bulla help` has the commands.

use std::process::ExitCode;

use clap::Parser;

mod anchor;
mod args;
mod command;
mod detect;
mod failure;
mod files;
mod limits;
mod machine;
mod openers;
mod progress;
mod registers;
mod say;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    limits::apply();
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        Err(failure) => {
            say::failure(&failure);
            failure.exit_code()
        }
    }
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let machine = args.machine.as_deref();
    match &args.command {
        Command::Seal(options) => command::seal::seal(machine, options),
        Command::Unseal(options) => command::seal::unseal(machine, options),
        Command::Inspect(options) => command::inspect::run(options),
        Command::Import(options) => command::import::run(machine, options),
        Command::Rewrap(options) => command::change::rewrap(machine, options),
        Command::Rotate(options) => command::change::rotate(machine, options),
        Command::Key(subcommand) => command::key::run(machine, subcommand),
        Command::Exec(options) => command::key::exec(machine, options),
        Command::Plan(options) => command::plan::run(machine, options),
        Command::Recipient(subcommand) => command::recipient::run(subcommand),
        Command::Floor(subcommand) => command::floor::run(machine, subcommand),
        Command::Successor(subcommand) => command::successor::run(machine, subcommand),
        Command::Request(options) => command::request::run(machine, options),
        Command::Attest(args::Attest::Show(options)) => command::attest::show(options),
        Command::Attest(args::Attest::Verify(options)) => command::attest::verify(options),
        Command::Attest(args::Attest::Explain(options)) => command::attest::explain(options),
        Command::Attest(args::Attest::Tpm(subcommand)) => command::attest::tpm::run(subcommand),
        Command::Attest(args::Attest::Collateral(action)) => command::attest::collateral::run(action),
        Command::Attest(args::Attest::Policy(args::Policy::Check(file))) => {
            command::attest::policy::check(file)
        }
        Command::Attest(args::Attest::Policy(args::Policy::Explain(file))) => {
            command::attest::policy::explain(file)
        }
        Command::Audit(subcommand) => command::audit::run(subcommand),
        Command::Authority(subcommand) => command::authority::run(subcommand),
        Command::Manifest(subcommand) => command::manifest::run(subcommand),
        Command::Doctor(options) => command::doctor::run(options),
        #[cfg(feature = "tpm")]
        Command::Tpm(subcommand) => command::tpm::run(machine, subcommand),
        Command::Provider(subcommand) => command::provider::run(subcommand),
        #[cfg(feature = "sim")]
        Command::Sim(subcommand) => return command::sim::run(subcommand),
        #[cfg(feature = "sim")]
        Command::Demo(options) => command::demo::run(options),
        Command::Completions { shell } => command::manual::completions(*shell),
        Command::Man { directory } => command::manual::man_pages(directory),
    }?;
    Ok(ExitCode::SUCCESS)
}
