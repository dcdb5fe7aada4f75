//! The measurement of a recovery (`docs/recovery.md`) is by hand; here cellgate is asked whether it still accepts the
//! configuration that is measured.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;

use loadtest::recovery::peer::{Arm, Kind, PeerError, Site, check};

#[tokio::test]
async fn cellgate_accepts_the_configuration_that_is_measured() {
    let arms: Vec<Arm> = Arm::ALL.into_iter().filter(|arm| arm.kind == Kind::Cellgate).collect();
    assert_eq!(arms.len(), 2);
    for arm in arms {
        let folder = tempfile::tempdir().unwrap();
        let site = Site {
            folder: folder.path().to_owned(),
            cell: "127.0.0.1:7101".parse().unwrap(),
            declared_rps: 200,
            cellgate: PathBuf::from(env!("CARGO_BIN_EXE_cellgate")),
        };
        check(arm, &site).await.unwrap_or_else(|error| panic!("{error}"));
        let nothing = check(arm, &Site { declared_rps: 0, ..site }).await;
        assert!(matches!(nothing, Err(PeerError::Refused { .. })), "a capacity of nothing: {nothing:?}");
    }
}
