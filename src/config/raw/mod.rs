//! The files as they are written: every key of every file, with its meaning, and nothing checked but
//! its kind. The only place with `Deserialize` and the only one that names serde_yaml, so that its
//! successor changes one file.
//!
//! A value of the wrong kind does not fail its document: it becomes [`Field::Bad`], and an unknown key is
//! kept by name, so that one look reports everything. What the values mean is decided by the modules
//! beside this one. [`scan`](super::scan) has refused hostile text before it gets here.

mod apply;
mod boot;
mod brownouts;
mod guards;
mod limits;
mod moves;
mod protection;
mod routing;
mod tables;
mod tls;

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

pub use apply::*;
pub use boot::*;
pub use brownouts::*;
pub use guards::*;
pub use limits::*;
pub use moves::*;
pub use protection::*;
pub use routing::*;
pub use tables::*;
pub use tls::*;

use super::problem::quoted;

/// What stands under one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Field<T> {
    /// The key is not there.
    #[default]
    Missing,
    /// Something of another kind stands there: what, for the problem that will be reported.
    Bad(String),
    /// A problem with it has been reported already.
    Reported,
    /// A value of the right kind.
    Given(T),
}

/// A kind of value that can stand under a key.
pub trait Shape: Sized {
    /// The kind, for problems and for the reference.
    const OUTLINE: Outline;

    /// Takes the value if it is of this kind; else says what it is.
    fn read(tree: Tree) -> Result<Self, String>;
}

/// What can be quoted back in a problem.
pub trait Shown {
    /// `"http3"`, `17`.
    fn shown(&self) -> String;
}

/// A kind of value, as data: the reference is printed from it.
#[derive(Clone, Copy, Debug)]
pub enum Outline {
    /// A plain value of this kind.
    Leaf(&'static str),
    /// A list.
    List(&'static Outline),
    /// A mapping with these keys.
    Mapping(&'static [Key]),
    /// A word, or a mapping with these keys.
    WordOr(&'static str, &'static [Key]),
}

/// One key of a mapping.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// The kind of its value.
    pub outline: Outline,
    /// `required`, `-` for optional keys without a value of their own, or the default.
    pub default: fn() -> String,
}

/// A mapping whose keys are known.
pub trait Keys {
    /// All of them, in reading order.
    const KEYS: &'static [Key];

    /// Keys in the file that are none of them.
    fn take_unknown(&mut self) -> Vec<String>;
}

/// The text of one YAML document as a tree, or where and why serde_yaml refuses it.
pub fn parse(text: &str) -> Result<Tree, (Option<(u32, u32)>, String)> {
    serde_yaml::from_str(text).map_err(|error| {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = error.location().map(|at| (number(at.line()), number(at.column())));
        (place, error.to_string())
    })
}

/// A YAML value. Unlike serde_yaml's own, it accepts keys that stand twice (the first counts;
/// [`scan`](super::scan) reports them) and keys that are not text, so that nothing fails half-way.
#[derive(Clone, Debug, PartialEq)]
pub enum Tree {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number that is not negative.
    Number(u64),
    /// Any other number, as text.
    OtherNumber(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Tree>),
    /// A mapping in the order of the file.
    Mapping(Vec<(Tree, Tree)>),
}

impl Tree {
    /// What this is, in words that do not repeat more than a short text.
    pub fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(value) => value.to_string(),
            Self::OtherNumber(value) => value.clone(),
            Self::Text(text) => quoted(text),
            Self::List(_) => "a list".to_owned(),
            Self::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without tags")
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(u64::try_from(value).map_or_else(|_| Tree::OtherNumber(value.to_string()), Tree::Number))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Tree::OtherNumber(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::OtherNumber(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        // With its point, without which 1.0 looks like the whole number that it is not.
        Ok(Tree::OtherNumber(format!("{value:?}")))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Tree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Tree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Tree, A::Error> {
        let mut mapping = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            mapping.push(entry);
        }
        Ok(Tree::Mapping(mapping))
    }
}

impl<T: Shape> Field<T> {
    fn read(tree: Tree) -> Self {
        match T::read(tree) {
            Ok(value) => Self::Given(value),
            Err(found) => Self::Bad(found),
        }
    }
}

impl Shape for String {
    const OUTLINE: Outline = Outline::Leaf("text");

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::Text(text) => Ok(text),
            other => Err(other.describe()),
        }
    }
}

impl Shape for bool {
    const OUTLINE: Outline = Outline::Leaf("true or false");

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::Bool(value) => Ok(value),
            other => Err(other.describe()),
        }
    }
}

impl Shape for u64 {
    const OUTLINE: Outline = Outline::Leaf("whole number");

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::Number(value) => Ok(value),
            other => Err(other.describe()),
        }
    }
}

/// An id: digits, with or without quotes.
#[derive(Clone, Debug, PartialEq)]
pub struct Digits(pub String);

impl Shape for Digits {
    const OUTLINE: Outline = Outline::Leaf("id");

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::Text(text) => Ok(Self(text)),
            Tree::Number(number) => Ok(Self(number.to_string())),
            other => Err(other.describe()),
        }
    }
}

impl<T: Shape> Shape for Vec<Field<T>> {
    const OUTLINE: Outline = Outline::List(&T::OUTLINE);

    fn read(tree: Tree) -> Result<Self, String> {
        match tree {
            Tree::List(items) => Ok(items.into_iter().map(Field::read).collect()),
            other => Err(other.describe()),
        }
    }
}

impl Shown for String {
    fn shown(&self) -> String {
        quoted(self)
    }
}

impl Shown for Digits {
    fn shown(&self) -> String {
        quoted(&self.0)
    }
}

impl Shown for u64 {
    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Shown for bool {
    fn shown(&self) -> String {
        self.to_string()
    }
}

/// Declares the keys of a mapping: `name: Kind = default`. The comments are the reference's text.
/// Makes the type, [`Keys`], [`Shape`], and for every key a method that takes its value with its place.
macro_rules! mapping {
    ($(#[doc = $about:literal])* $type:ident {
        $($(#[doc = $meaning:literal])+ $key:ident: $kind:ty = $default:expr;)*
    }) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct $type {
            $(pub $key: $crate::config::raw::Field<$kind>,)*
            unknown: Vec<String>,
        }

        impl $type {
            $($(#[doc = $meaning])+
            pub fn $key<'a>(&mut self, at: &$crate::config::slot::At<'a>) -> $crate::config::slot::Slot<'a, $kind> {
                at.key(stringify!($key)).slot(std::mem::take(&mut self.$key))
            })*
        }

        impl $crate::config::raw::Keys for $type {
            const KEYS: &'static [$crate::config::raw::Key] = &[$($crate::config::raw::Key {
                name: stringify!($key),
                meaning: concat!($($meaning,)+),
                outline: <$kind as $crate::config::raw::Shape>::OUTLINE,
                default: || ($default).to_string(),
            },)*];

            fn take_unknown(&mut self) -> Vec<String> {
                std::mem::take(&mut self.unknown)
            }
        }

        impl $crate::config::raw::Shape for $type {
            const OUTLINE: $crate::config::raw::Outline =
                $crate::config::raw::Outline::Mapping(<Self as $crate::config::raw::Keys>::KEYS);

            fn read(tree: $crate::config::raw::Tree) -> Result<Self, String> {
                let $crate::config::raw::Tree::Mapping(entries) = tree else {
                    return Err(tree.describe());
                };
                let mut made = Self::default();
                for (key, value) in entries {
                    match &key {
                        $($crate::config::raw::Tree::Text(name) if name == stringify!($key) => {
                            if made.$key == $crate::config::raw::Field::Missing {
                                made.$key = $crate::config::raw::Field::read(value);
                            }
                        })*
                        $crate::config::raw::Tree::Text(name) => made.unknown.push(name.clone()),
                        other => made.unknown.push(other.describe()),
                    }
                }
                Ok(made)
            }
        }
    };
}
use mapping;

/// A key that must be there.
pub const REQUIRED: &str = "required";
/// A key that may be absent and then means nothing.
pub const NONE: &str = "-";
