//! `bulla provider`.

mod admin;
mod config;
mod custody;
mod serve;
mod status;

use bulla_provider::Command;
use serde_json::Value;

use crate::args::Provider;
use crate::failure::Failure;

pub(crate) fn run(subcommand: &Provider) -> Result<(), Failure> {
    match subcommand {
        Provider::Init(options) => custody::init(options),
        Provider::Serve(options) => serve::serve(options),
        Provider::Handover(subcommand) => custody::handover(subcommand),
        Provider::Recover(subcommand) => custody::recover(subcommand),
        Provider::Drill(subcommand) => custody::drill(subcommand),
        Provider::Config(subcommand) => config::run(subcommand),
        Provider::Status(options) => status::run(options),
        Provider::Reload(options) => admin::post(options, "/reload", &Value::Null),
        Provider::Drain(options) => admin::post(options, "/drain", &Value::Null),
        Provider::Resume(options) => admin::post(options, "/resume", &Value::Null),
        Provider::Rotate(options) => admin::command(&options.asking, Command::Rotate { to: options.to }),
        Provider::Retire(options) => {
            admin::command(&options.asking, Command::Retire { epoch: options.epoch })
        }
        Provider::Floor(options) => admin::command(&options.asking, Command::Floor { epoch: options.epoch }),
        Provider::Submit(options) => admin::submit(options),
    }
}
