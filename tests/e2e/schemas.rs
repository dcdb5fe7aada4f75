//! The JSON Schemas of the configuration files, by a validator that others wrote: files that cellgate takes are what
//! they say, and files with keys and kinds that it does not take are not.

#![allow(clippy::panic)] // Ends a test with words.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cellgate::config::schema::SchemaOf;
use cellgate::policy::code::{Code, Example};
use serde_json::Value;

use crate::python::python;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the validator says of documents.
fn validated(of: SchemaOf, documents: &[PathBuf]) -> Output {
    let schema = root().join("docs/schema").join(format!("{}.json", of.file()));
    let mut command = Command::new(python());
    command.arg(root().join("tests/e2e/clients/valid_report.py")).arg(schema).args(documents);
    command.output().unwrap()
}

/// A file's text as an editor reads it, put where the validator finds it.
fn document(name: &str, text: &str) -> PathBuf {
    let value: Value = serde_yaml::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}\n{text}"));
    let folder = root().join("target/e2e/schemas");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("{}.json", name.replace('/', "_")));
    fs::write(&file, value.to_string()).unwrap();
    file
}

fn read(file: &str) -> String {
    let text = fs::read_to_string(root().join(file)).unwrap();
    // What the load generator fills in.
    text.replace("@LIMIT@", "100").replace("@CAPACITY@", "100")
}

/// The keys that are asked for in any case, where an example has other ones only.
fn whole(file: &str, text: &str) -> String {
    let base = cellgate::policy::code::BASE.iter().find(|(name, _)| *name == file).unwrap().1;
    let mut whole: serde_yaml::Mapping = serde_yaml::from_str(base).unwrap();
    whole.extend(serde_yaml::from_str::<serde_yaml::Mapping>(text).unwrap());
    serde_yaml::to_string(&whole).unwrap()
}

#[test]
fn what_is_taken_is_what_the_schemas_say() {
    let files = [
        (
            SchemaOf::Boot,
            ["config/boot.yaml", "loadtest/peers/cellgate/boot.yaml", "src/policy/code/base_boot.yaml"],
        ),
        (
            SchemaOf::Routing,
            [
                "config/cellgate.yaml",
                "loadtest/peers/cellgate/cellgate.yaml",
                "src/policy/code/base_cellgate.yaml",
            ],
        ),
        (SchemaOf::Clients, ["config/clients.yaml", "fuzz/seeds/config/clients.yaml", "config/clients.yaml"]),
        (SchemaOf::Accounts, ["fuzz/seeds/config/accounts.yaml"; 3]),
        (SchemaOf::Environments, ["fuzz/seeds/config/environments.yaml"; 3]),
    ];
    for (of, files) in files {
        let mut documents: Vec<PathBuf> = files.iter().map(|file| document(file, &read(file))).collect();
        for code in Code::ALL {
            for Example { file, is_wrong, text } in code.explanation().examples() {
                if !is_wrong && file == of.file() {
                    documents.push(document(&format!("mended-{code}-{file}"), &whole(file, text)));
                }
            }
        }
        let output = validated(of, &documents);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn wrong_keys_and_kinds_are_not() {
    let told = |of: SchemaOf, name: &str, text: &str| {
        let output = validated(of, &[document(name, text)]);
        assert!(!output.status.success(), "{name} is valid");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let boot = told(SchemaOf::Boot, "wrong-boot", &read("tests/config/wrong/boot.yaml"));
    for expect in
        ["'listener' was unexpected", "$.drain: '30s' is not of type 'object'", "$.version: 1 was expected"]
    {
        assert!(boot.contains(expect), "{boot}");
    }
    // A key that stands twice is nothing that a schema could say.
    let routing = read("tests/config/wrong/cellgate.yaml").replace("\nguide: https://example.com\n", "\n");
    let routing = told(SchemaOf::Routing, "wrong-cellgate", &routing);
    for expect in [
        "'protcol' was unexpected",
        "'just a word' is not of type 'object'",
        "'true' is not of type 'boolean'",
    ] {
        assert!(routing.contains(expect), "{routing}");
    }
    let clients = told(SchemaOf::Clients, "wrong-clients", &read("tests/config/wrong/clients.yaml"));
    assert!(clients.contains("'who' was unexpected"), "{clients}");
    let mut shown = 0;
    for code in [Code::UnknownKey, Code::Missing, Code::WrongKind, Code::Version] {
        for Example { file, text, .. } in
            code.explanation().examples().into_iter().filter(|example| example.is_wrong)
        {
            let of = SchemaOf::ALL.into_iter().find(|of| of.file() == file).unwrap();
            told(of, &format!("wrong-{code}"), &whole(file, text));
            shown += 1;
        }
    }
    assert_eq!(shown, 4);
}
