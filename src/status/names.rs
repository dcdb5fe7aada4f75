//! How cells and surfaces are called in public. One that has no public name is called by its place in the configuration, which
//! is the same on every replica and carries nothing of the name: whoever guesses names cannot try them on it. It changes when one
//! before it comes or goes.

use std::collections::BTreeMap;

use crate::policy::ids::Label;
use crate::policy::snapshot::Snapshot;

/// What the configuration says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicNames {
    /// Of cells, by their own names.
    pub cells: BTreeMap<String, String>,
    /// Of surfaces, likewise.
    pub surfaces: BTreeMap<String, String>,
    /// Their own names are public where there is no other.
    pub internal: bool,
}

/// How one is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Called {
    /// For programs: the same whatever the public name is.
    pub id: String,
    /// For people.
    pub name: String,
}

/// How all of a snapshot are called.
#[derive(Debug, Default)]
pub(super) struct CalledNames {
    cells: BTreeMap<Label, Called>,
    surfaces: BTreeMap<Label, Called>,
}

impl PublicNames {
    /// What each is called.
    pub(super) fn of(&self, snapshot: &Snapshot) -> CalledNames {
        let cells = snapshot.cells.iter().map(|cell| &cell.name);
        let surfaces = snapshot.surfaces.iter().map(|surface| &surface.name);
        CalledNames {
            cells: self.called(cells, &self.cells, ("c", "Cell")),
            surfaces: self.called(surfaces, &self.surfaces, ("s", "Service")),
        }
    }

    fn called<'n>(
        &self,
        names: impl Iterator<Item = &'n Label>,
        public: &BTreeMap<String, String>,
        (kind, word): (&str, &str),
    ) -> BTreeMap<Label, Called> {
        let called = |(number, name): (u32, &Label)| {
            let own = || if self.internal { name.as_str().to_owned() } else { format!("{word} {number}") };
            let shown = public.get(name.as_str()).cloned().unwrap_or_else(own);
            let id = if self.internal { name.as_str().to_owned() } else { format!("{kind}{number}") };
            (name.clone(), Called { id, name: shown })
        };
        // Counted as people do.
        (1..).zip(names).map(called).collect()
    }
}

impl CalledNames {
    /// How a cell is called.
    pub fn cell(&self, name: &Label) -> Option<&Called> {
        self.cells.get(name)
    }

    /// How a surface is called.
    pub fn surface(&self, name: &Label) -> Option<&Called> {
        self.surfaces.get(name)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::telemetry::fixture::snapshot;
    use crate::test_snapshot::label;

    #[test]
    fn without_a_public_name_a_cell_is_called_by_its_place_and_nothing_of_its_name() {
        let mut snapshot = std::sync::Arc::into_inner(snapshot(1)).unwrap();
        let names =
            PublicNames { cells: [("mt".into(), "Old home".into())].into(), ..PublicNames::default() };
        let place = |name: &str| snapshot.cells.iter().position(|cell| cell.name == label(name)).unwrap() + 1;
        let (us1, mt) = (place("us1"), place("mt"));
        let called = names.of(&snapshot);
        let by_place = Called { id: format!("c{us1}"), name: format!("Cell {us1}") };
        assert_eq!(called.cell(&label("us1")).unwrap(), &by_place);
        let expect = Called { id: format!("c{mt}"), name: "Old home".into() };
        assert_eq!(called.cell(&label("mt")).unwrap(), &expect);
        // Whoever knows how numbers are made learns nothing of a name by one: another name has the same.
        snapshot.cells[us1 - 1].name = label("acme-prod");
        assert_eq!(names.of(&snapshot).cell(&label("acme-prod")).unwrap(), &by_place);
        snapshot.cells[us1 - 1].name = label("us1");
        let open = PublicNames { internal: true, ..names };
        let called = open.of(&snapshot);
        assert_eq!(called.cell(&label("us1")).unwrap(), &Called { id: "us1".into(), name: "us1".into() });
        assert_eq!(called.cell(&label("mt")).unwrap().name, "Old home");
    }
}
