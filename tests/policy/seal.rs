//! The signed verdict against its published vectors, by our own verifier and by the Python one.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use aws_lc_rs::hmac;
use cellgate::policy::decide::Source;
use cellgate::policy::seal::{Received, SealError, Sealed, Verified, sign, verify};
use cellgate::policy::snapshot::SealKey;
use serde_json::Value;

use crate::snapshot::account;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verdict-signature")
}

fn vectors() -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder().join("vectors.json")).unwrap()).unwrap()
}

fn keys(document: &Value) -> Vec<SealKey> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let keys = document["keys"].as_object().unwrap().iter();
    keys.map(|(id, hex)| {
        let bytes: Vec<_> = hex.as_str().unwrap().as_bytes().chunks(2).map(byte).collect();
        SealKey { id: id.as_str().into(), key: Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &bytes)) }
    })
    .collect()
}

fn received(vector: &Value) -> Received<'_> {
    let text = |name: &str| vector["received"][name].as_str().unwrap();
    Received {
        cell: text("cell"),
        account: vector["received"]["account"].as_str(),
        method: text("method"),
        authority: text("authority"),
        target: text("target"),
        request_id: text("request_id"),
    }
}

#[test]
fn every_vector_verifies_as_published() {
    let document = vectors();
    let keys = keys(&document);
    let vectors = document["vectors"].as_array().unwrap();
    assert!(vectors.len() > 30, "the file has lost its vectors");
    for vector in vectors {
        let signature = vector["signature"].as_str().unwrap();
        let outcome = match verify(signature, &received(vector), &keys, vector["now"].as_u64().unwrap()) {
            Ok(_) => "valid",
            Err(SealError::Malformed) => "malformed",
            Err(SealError::UnknownKey) => "unknown_key",
            Err(SealError::NotNow) => "not_now",
            Err(SealError::Mismatch) => "mismatch",
        };
        assert_eq!(outcome, vector["expect"].as_str().unwrap(), "{}", vector["name"]);
    }
}

#[test]
fn our_signature_is_the_published_one() {
    let document = vectors();
    let vector = &document["vectors"][0];
    assert_eq!(vector["name"], "valid");
    let received = received(vector);
    let sealed = Sealed {
        cell: received.cell,
        account: Some(account(received.account.unwrap().parse().unwrap())),
        source: Source::Path,
        generation: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        epoch: 0,
        method: received.method,
        authority: received.authority,
        target: received.target,
        request_id: received.request_id,
        time: 1_769_904_000,
    };
    let keys = keys(&document);
    let signature = sign(&keys[0], &sealed).unwrap();
    assert_eq!(signature, vector["signature"].as_str().unwrap());
    let claims = verify(signature.to_str().unwrap(), &received, &keys, sealed.time).unwrap();
    let Sealed { generation, epoch, time, .. } = sealed;
    assert_eq!(claims, Verified { source: "path", generation, epoch, time });
    // No account is a verdict too, and text that reads as two lines is none.
    let signature = sign(&keys[0], &Sealed { account: None, ..sealed }).unwrap();
    assert!(
        verify(signature.to_str().unwrap(), &Received { account: None, ..received }, &keys, time).is_ok()
    );
    assert_eq!(sign(&keys[0], &Sealed { target: "/a\nb", ..sealed }), None);
}

#[test]
fn the_python_verifier_agrees() {
    // -B: no compiled files beside the sources.
    let mut python = Command::new("python3");
    python.arg("-B").arg(folder().join("verify.py")).arg(folder().join("vectors.json"));
    let output = python.output().expect("python3 is needed to check the published verifier");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let count = vectors()["vectors"].as_array().unwrap().len();
    assert_eq!(said.trim(), format!("{count} of {count} vectors as expected"));
}
