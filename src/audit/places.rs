//! Where names of a snapshot are among the names of a window: looked up once for the rows of a page, not once a row.

use crate::policy::snapshot::Snapshot;
use crate::telemetry::labels::{NONE, UNKNOWN_CLIENT};

use super::key::{Credential, Key, Network, OTHER, Place, key_name};
use super::minute::{cell_name, class_name};
use super::names::{Name, Names, written};
use super::rows::{CredentialName, NetworkName, RowKey};

/// What was looked up already, under one snapshot and in one list of names.
#[derive(Debug, Default)]
pub(super) struct Places {
    clients: Kept,
    surfaces: Kept,
    classes: Kept,
    cells: Kept,
    templates: Kept,
    networks: Kept,
    /// The newest key of fingerprints.
    key: Option<Name>,
    /// Those that are no tokens: a handful.
    credentials: Vec<(Credential, Name)>,
}

/// Names by their places in a list of the snapshot.
#[derive(Debug, Default)]
struct Kept(Vec<Option<Name>>);

impl Places {
    /// A key by names.
    pub fn row_key(&mut self, names: &mut Names, snapshot: &Snapshot, key: &Key) -> RowKey {
        let detail = &key.detail;
        let client = |at: usize| snapshot.clients.get(at).map(|family| &*family.name);
        let surface = |at: usize| snapshot.surfaces.get(at).map(|surface| surface.name.as_str());
        RowKey {
            day: key.minute.div_euclid(24 * 60),
            whose: key.subject.into(),
            client: self.clients.of(detail.client, names, |place| place.name(UNKNOWN_CLIENT, client)),
            surface: self.surfaces.of(detail.surface, names, |place| place.name(NONE, surface)),
            class: self.class(names, snapshot, detail.class),
            credential: self.credential(names, snapshot, detail.credential),
            network: match detail.network {
                Network::V4(bytes) => NetworkName::V4(bytes),
                Network::V6(bytes) => NetworkName::V6(bytes),
                Network::None => NetworkName::Named(self.networks.of(Place::None, names, |_| NONE)),
                Network::Other => NetworkName::Named(self.networks.of(Place::Other, names, |_| OTHER)),
            },
        }
    }

    /// A cell and an endpoint class by names.
    pub fn cell_and_class(
        &mut self,
        names: &mut Names,
        snapshot: &Snapshot,
        cell: Place,
        class: Place,
    ) -> (Name, Name) {
        let of = |at| cell_name(snapshot, at);
        let cell = self.cells.of(cell, names, |place| place.name(NONE, of));
        (cell, self.class(names, snapshot, class))
    }

    /// A path template by its name.
    pub fn template(&mut self, names: &mut Names, snapshot: &Snapshot, at: Option<usize>) -> Name {
        self.templates.at(at.map_or(0, |at| at + 1), || {
            let template = at.and_then(|at| snapshot.identify.paths.get(at));
            names.position(&template.map_or_else(|| OTHER.to_owned(), written))
        })
    }

    fn class(&mut self, names: &mut Names, snapshot: &Snapshot, class: Place) -> Name {
        self.classes.of(class, names, |place| place.name(NONE, |at| class_name(snapshot, at)))
    }

    fn credential(&mut self, names: &mut Names, snapshot: &Snapshot, of: Credential) -> CredentialName {
        if let Credential::Token(shown) = of {
            let key = *self.key.get_or_insert_with(|| names.position(key_name(snapshot, 0)));
            return CredentialName::Token(key, shown);
        }
        let known = self.credentials.iter().find(|(known, _)| *known == of);
        let name = known.map(|(_, name)| *name).unwrap_or_else(|| {
            let name = names.position(&of.name(snapshot));
            self.credentials.push((of, name));
            name
        });
        CredentialName::Named(name)
    }
}

impl Kept {
    fn of<'a>(&mut self, place: Place, names: &mut Names, text: impl FnOnce(Place) -> &'a str) -> Name {
        let slot = match place {
            Place::None => 0,
            Place::Other => 1,
            Place::At(at) => 2 + usize::from(at),
        };
        self.at(slot, || names.position(text(place)))
    }

    fn at(&mut self, slot: usize, name: impl FnOnce() -> Name) -> Name {
        if self.0.len() <= slot {
            self.0.resize(slot + 1, None);
        }
        *self.0[slot].get_or_insert_with(name)
    }
}
