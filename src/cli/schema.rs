//! `cellgate schema`: the JSON Schema of a configuration file, for editors.

use std::process::ExitCode;

use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::{OK, print};
use crate::config::schema::SchemaOf;

/// Print the JSON Schema of a configuration file, for editors.
///
/// An editor with yaml-language-server checks and completes a file whose first line names the schema:
///   # yaml-language-server: $schema=cellgate.yaml.json
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Which file
    #[arg(value_name = "FILE", default_value = "cellgate.yaml")]
    file: SchemaOf,
}

impl ValueEnum for SchemaOf {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.file()))
    }
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    print(args.file.schema().as_bytes())?;
    Ok(OK.into())
}
