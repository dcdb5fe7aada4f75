//! Requests of the simulation, and what the shadow expects of them: the identify order told a second
//! time, over plain maps, with names in place of positions.

use cellgate::policy::decide::{Source, Why};
use cellgate::policy::refusal::{BadRequest, Refusal};
use fastrand::Rng;

use crate::snapshot::Request;
use crate::world::{DOMAINS, Fallbacks, SURFACES, TEMPLATES, TOKENS, World, token};

/// What a client means to say. [`Ask::request`] says it in the only way that is canonical.
#[derive(Clone, Debug)]
pub struct Ask {
    pub host: Place,
    /// Position in [`TEMPLATES`] and the id in it; `None` is a path of no template.
    pub path: Option<(usize, u64)>,
    pub query: Option<u64>,
    pub environment: Option<u64>,
    pub header: Option<u64>,
    pub cookie: Option<u64>,
    pub token: Option<usize>,
    /// The token is in the session cookie, not in Authorization.
    pub token_in_cookie: bool,
    pub navigation: bool,
}

/// Position in [`TEMPLATES`] of the route that names nobody.
const WHOAMI: usize = 3;

/// The host of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Place {
    /// A host of the configuration without placeholders.
    Legacy(String),
    /// `{prefix}` before a legacy host.
    PrefixOnLegacy { prefix: String, rest: &'static str },
    /// The account's own address.
    Cell { prefix: String, surface: &'static str, domain: &'static str, misordered: bool },
    /// Nobody's.
    Unknown,
}

/// What must become of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Expected {
    Forward {
        cell: String,
        why: Why,
    },
    /// To the own address that begins with one of the account's prefixes.
    Redirect {
        host: String,
    },
    Refuse(Refusal),
}

/// The whole expectation.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    pub account: Option<u64>,
    pub source: Source,
    pub against: Vec<Source>,
    pub expected: Expected,
}

impl Ask {
    pub fn any(world: &World, rng: &mut Rng) -> Self {
        match rng.u32(..10) {
            0..=2 => Self::of_a_client(world, rng),
            3..=4 => Self::by_token_alone(rng),
            _ => Self::of_many_words(world, rng),
        }
    }

    /// A client that works for one account and says so once, with its token.
    fn of_a_client(world: &World, rng: &mut Rng) -> Self {
        let number = rng.usize(..TOKENS);
        // Tokens are shared out among the accounts, and sometimes somebody borrows one.
        let usual = *world.accounts.keys().nth(number % world.accounts.len()).unwrap();
        let account = if rng.u32(..8) == 0 { world.any_account(rng) } else { usual };
        Self {
            path: Some((rng.usize(..2), account)),
            token: Some(number),
            ..Self::silent(Place::Legacy("cloud.getdbt.com".into()))
        }
    }

    fn by_token_alone(rng: &mut Rng) -> Self {
        let path = rng.bool().then_some((WHOAMI, 1));
        let token_in_cookie = rng.u32(..4) == 0;
        Self {
            path,
            token: Some(rng.usize(..TOKENS)),
            token_in_cookie,
            navigation: token_in_cookie && rng.bool(),
            ..Self::silent(Place::Legacy("cloud.getdbt.com".into()))
        }
    }

    /// Names nothing.
    fn silent(host: Place) -> Self {
        Self {
            host,
            path: None,
            query: None,
            environment: None,
            header: None,
            cookie: None,
            token: None,
            token_in_cookie: false,
            navigation: false,
        }
    }

    fn of_many_words(world: &World, rng: &mut Rng) -> Self {
        // Most clients name an account that is there, and name it once.
        let rare = |rng: &mut Rng, id: u64| (rng.u32(..5) == 0).then_some(id);
        let id = any_id(world, rng);
        let same_or_other = |rng: &mut Rng| if rng.bool() { id } else { any_id(world, rng) };
        let path = (rng.u32(..4) > 0).then(|| (rng.usize(..TEMPLATES.len()), id));
        let (other, another) = (same_or_other(rng), same_or_other(rng));
        let environments: Vec<u64> = world.environments.keys().copied().collect();
        let environment = match environments.as_slice() {
            [_, ..] if rng.bool() => environments[rng.usize(..environments.len())],
            _ => world.fresh_id(rng),
        };
        let cookie = same_or_other(rng);
        Self {
            host: Place::any(world, rng),
            path,
            query: rare(rng, other),
            environment: rare(rng, environment),
            header: rare(rng, another),
            cookie: rare(rng, cookie),
            token: (rng.u32(..3) > 0).then(|| rng.usize(..TOKENS)),
            token_in_cookie: rng.u32(..4) == 0,
            navigation: rng.u32(..5) == 0,
        }
    }

    pub fn request(&self) -> Request {
        let path = match self.path {
            Some((template, id)) => {
                let id = id.to_string();
                TEMPLATES[template].0.replace("{account}", &id).replace("{entity}", &id)
            }
            None => "/somewhere/else".to_owned(),
        };
        let query = self.query.map_or_else(String::new, |id| format!("?a=b&account_id={id}&c"));
        let mut fields = Vec::new();
        let mut cookies = Vec::new();
        fields.extend(self.environment.map(|id| format!("environmentid: {id}")));
        fields.extend(self.header.map(|id| format!("x-account-id: {id}")));
        cookies.extend(self.cookie.map(|id| format!("account={id}")));
        match self.token {
            Some(number) if self.token_in_cookie => cookies.push(format!("sessionid={}", token(number))),
            Some(number) => fields.push(format!("authorization: Token {}", token(number))),
            None => {}
        }
        if !cookies.is_empty() {
            fields.push(format!("cookie: {}", cookies.join("; ")));
        }
        if self.navigation {
            fields.extend(["sec-fetch-mode: navigate".to_owned(), "accept: text/html".to_owned()]);
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        Request::new(&format!("GET {}{path}{query}", self.host.text())).with(&fields)
    }

    /// What the files of `world` assign to this request; `known` is whose token it is.
    pub fn expect(&self, world: &World, known: Option<u64>) -> Expectation {
        let Some(fallbacks) = self.host.rule(world) else {
            return Expectation::refused(Refusal::Misdirected);
        };
        let in_path = self.path.filter(|(template, _)| TEMPLATES[*template].0.contains("{account}"));
        let in_path = in_path.map(|(_, id)| id);
        let environment = self.environment.and_then(|id| world.environments.get(&id).copied());
        // Two headers of different opinion are one source that says two things.
        let two_headers = environment.zip(self.header).is_some_and(|(one, other)| one != other);
        if self.on_legacy() && two_headers {
            return Expectation::refused(BadRequest::DuplicateKey.into());
        }
        if self.lacks_credential() {
            let source = in_path.map_or(Source::None, |_| Source::Path);
            return Expectation {
                account: in_path,
                source,
                ..Expectation::refused(Refusal::CredentialRequired)
            };
        }
        let header = environment.or(self.header);
        let in_cookie = self.token_in_cookie;
        let credential = known.filter(|_| !in_cookie);
        let cookie = self.cookie.or(known.filter(|_| in_cookie));
        let said = [
            (Source::Path, in_path),
            (Source::Query, self.query),
            (Source::Header, header),
            (Source::Credential, credential),
            (Source::Cookie, cookie),
        ];
        match &self.host {
            Place::Cell { prefix, domain, .. } => on_cell_host(world, prefix, domain, &said, &fallbacks),
            Place::PrefixOnLegacy { prefix, .. } => match world.by_prefix(prefix) {
                Some((id, _)) => self.on_legacy_host(world, Source::HostPrefix, id, &said, known, &fallbacks),
                None => Expectation {
                    source: Source::HostPrefix,
                    ..fall_back(&fallbacks.unmapped, Refusal::UnmappedAccount)
                },
            },
            Place::Legacy(_) | Place::Unknown => {
                match said.iter().find_map(|(source, id)| Some((*source, (*id)?))) {
                    Some((source, id)) => self.on_legacy_host(world, source, id, &said, known, &fallbacks),
                    None => self.without_account(world, environment, &fallbacks),
                }
            }
        }
    }

    pub fn on_legacy(&self) -> bool {
        !matches!(self.host, Place::Cell { .. })
    }

    pub fn lacks_credential(&self) -> bool {
        let authenticated = self.path.is_some_and(|(template, _)| TEMPLATES[template].1);
        self.on_legacy() && authenticated && self.token.is_none() && self.cookie.is_none()
    }

    fn on_legacy_host(
        &self,
        world: &World,
        source: Source,
        id: u64,
        said: &[(Source, Option<u64>)],
        known: Option<u64>,
        fallbacks: &Fallbacks,
    ) -> Expectation {
        let against = disagreeing(said, id);
        let about = |expected| Expectation { account: Some(id), source, against: against.clone(), expected };
        if against.iter().any(|other| matches!(other, Source::Path | Source::Query | Source::Header)) {
            return about(Expected::Refuse(Refusal::ConflictingAccounts));
        }
        let Some(row) = world.accounts.get(&id) else {
            return about(fall_back(&fallbacks.unmapped, Refusal::UnmappedAccount).expected);
        };
        // A redirect shows the account's address: only to whose token is known to be the account's.
        let token = known == Some(id) && self.token_in_cookie;
        let shows_a_page = self.navigation && token;
        let own = own_address(world, row, self.host.surface());
        match own.filter(|_| row.redirect && shows_a_page) {
            Some(host) => about(Expected::Redirect { host }),
            None => about(Expected::Forward { cell: row.cell.clone(), why: Why::Mapped }),
        }
    }

    fn without_account(&self, world: &World, environment: Option<u64>, fallbacks: &Fallbacks) -> Expectation {
        let in_path = self.path.filter(|(template, _)| TEMPLATES[*template].0.contains("{entity}"));
        let entities = [in_path.map(|(_, id)| id), self.environment.filter(|_| environment.is_none())];
        let mut cells: Vec<&str> = entities.iter().flatten().filter_map(|id| world.born(*id)).collect();
        cells.sort_unstable();
        cells.dedup();
        match cells.as_slice() {
            [] => fall_back(&fallbacks.no_account, Refusal::NoAccount),
            [cell] => Expectation {
                account: None,
                source: Source::IdRange,
                against: Vec::new(),
                expected: Expected::Forward { cell: (*cell).to_owned(), why: Why::IdRange },
            },
            _ => Expectation {
                against: vec![Source::IdRange],
                ..fall_back(&fallbacks.no_account, Refusal::NoAccount)
            },
        }
    }
}

impl Expectation {
    fn refused(refusal: Refusal) -> Self {
        Self { account: None, source: Source::None, against: Vec::new(), expected: Expected::Refuse(refusal) }
    }
}

impl Place {
    pub fn any(world: &World, rng: &mut Rng) -> Self {
        let named: Vec<_> = world.accounts.values().filter(|row| !row.prefixes.is_empty()).collect();
        let (prefix, home) = match named.as_slice() {
            [_, ..] if rng.u32(..12) > 0 => {
                let row = named[rng.usize(..named.len())];
                (row.prefixes[rng.usize(..row.prefixes.len())].clone(), world.cell(&row.cell).domain)
            }
            _ => ("nobody".to_owned(), DOMAINS[0]),
        };
        match rng.u32(..20) {
            0 => Self::Unknown,
            1..=3 => {
                let rest = ["cloud.getdbt.com", "metadata.cloud.getdbt.com"][usize::from(rng.u32(..4) == 0)];
                Self::PrefixOnLegacy { prefix, rest }
            }
            4..=8 => Self::Cell {
                prefix,
                surface: SURFACES[rng.usize(..3)],
                domain: if rng.u32(..8) == 0 { DOMAINS[rng.usize(..2)] } else { home },
                misordered: rng.u32(..4) == 0,
            },
            9 => Self::Legacy("old.getdbt.com".into()),
            _ => {
                let surface = SURFACES[rng.usize(..3)];
                let label = if surface == "app" { String::new() } else { format!("{surface}.") };
                Self::Legacy(format!("{label}cloud.getdbt.com"))
            }
        }
    }

    pub fn text(&self) -> String {
        match self {
            Self::Legacy(host) => host.clone(),
            Self::PrefixOnLegacy { prefix, rest } => format!("{prefix}.{rest}"),
            Self::Cell { prefix, surface: "app", domain, .. } => format!("{prefix}.{domain}"),
            Self::Cell { prefix, surface, domain, misordered: false } => {
                format!("{prefix}.{surface}.{domain}")
            }
            Self::Cell { prefix, surface, domain, misordered: true } => {
                format!("{surface}.{prefix}.{domain}")
            }
            Self::Unknown => "somebody.else.test".to_owned(),
        }
    }

    /// The fallbacks of the rule that serves this host, where one does.
    pub fn rule(&self, world: &World) -> Option<Fallbacks> {
        let pattern = match self {
            Self::Legacy(host) => host.clone(),
            Self::PrefixOnLegacy { rest, .. } => format!("{{prefix}}.{rest}"),
            Self::Cell { surface: "app", domain, .. } => format!("{{prefix}}.{domain}"),
            Self::Cell { domain, .. } => format!("{{prefix}}.{{surface}}.{domain}"),
            Self::Unknown => return None,
        };
        world.hosts.get(&pattern).map(|host| host.fallbacks.clone())
    }

    pub fn surface(&self) -> &'static str {
        let text = self.text();
        SURFACES.into_iter().find(|surface| text.contains(&format!("{surface}."))).unwrap_or("app")
    }
}

fn any_id(world: &World, rng: &mut Rng) -> u64 {
    if rng.u32(..5) == 0 { world.no_account(rng) } else { world.any_account(rng) }
}

fn on_cell_host(
    world: &World,
    prefix: &str,
    domain: &str,
    said: &[(Source, Option<u64>)],
    fallbacks: &Fallbacks,
) -> Expectation {
    let unmapped = fall_back(&fallbacks.unmapped, Refusal::UnmappedAccount);
    let Some((id, row)) = world.by_prefix(prefix) else {
        return Expectation { source: Source::HostPrefix, ..unmapped };
    };
    let lives_here = world.cell(&row.cell).domain == domain;
    Expectation {
        account: Some(id),
        source: Source::HostPrefix,
        against: disagreeing(said, id),
        expected: match lives_here {
            true => Expected::Forward { cell: row.cell.clone(), why: Why::Mapped },
            false => unmapped.expected,
        },
    }
}

fn disagreeing(said: &[(Source, Option<u64>)], id: u64) -> Vec<Source> {
    said.iter()
        .filter(|(_, other)| other.is_some_and(|other| other != id))
        .map(|(source, _)| *source)
        .collect()
}

fn fall_back(cell: &Option<String>, refusal: Refusal) -> Expectation {
    match cell {
        None => Expectation::refused(refusal),
        Some(cell) => Expectation {
            expected: Expected::Forward { cell: cell.clone(), why: Why::Fallback },
            ..Expectation::refused(refusal)
        },
    }
}

/// Where people open an account's pages; other surfaces are for programs.
fn own_address(world: &World, row: &crate::world::Account, surface: &str) -> Option<String> {
    let prefix = row.prefixes.first().filter(|_| surface == "app")?;
    Some(format!("{prefix}.{}", world.cell(&row.cell).domain))
}
