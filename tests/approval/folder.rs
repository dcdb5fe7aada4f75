//! Approvals in a configuration folder: they are no part of the configuration.

use std::fs;

use cellgate::approval::Used;
use cellgate::approval_files::{load_used, read, remember};
use cellgate::load;

use crate::keys::Keys;
use crate::{NOW, allowed, approval, demand, judge, short, statement};

#[test]
fn approvals_are_read_from_the_folder_and_are_no_configuration() {
    let keys = Keys::default();
    let (alice, bob) = (keys.make("alice", "ed25519", ""), keys.make("bob", "ed25519", ""));
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("cellgate.yaml"), "accounts: { file: accounts.csv }\n").unwrap();
    fs::write(folder.path().join("accounts.csv"), "of 1\n").unwrap();
    let before = format!("{:?}", load::load(folder.path()));
    fs::create_dir(folder.path().join("approvals")).unwrap();
    for (name, key, nonce) in [("b.approval", &bob, 1), ("a.approval", &alice, 2)] {
        let text = approval(name, &statement(nonce), key).text.unwrap();
        fs::write(folder.path().join("approvals").join(name), text).unwrap();
    }
    assert_eq!(format!("{:?}", load::load(folder.path())), before);
    let signers = allowed(&format!("alice@x {}\nbob@x {}\n", alice.public, bob.public));
    let state = tempfile::tempdir().unwrap();
    let judged = || judge(&read(folder.path()), &demand(2), &signers, &load_used(state.path()), NOW);
    let judgement = judged();
    assert_eq!(short(&judgement), ["a.approval: alice@x", "b.approval: bob@x"]);
    remember(state.path(), &judgement, &demand(2), NOW).unwrap();
    assert_eq!(short(&judged()), ["a.approval: used_already", "b.approval: used_already"]);
    assert_ne!(load_used(state.path()), Used::default());
}
