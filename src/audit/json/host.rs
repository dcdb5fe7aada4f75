//! How a legacy host stands, as JSON: headline, verdicts with those of a week ago, the curve, the forecast with its pace, what
//! moves it, who came and came back, brownouts and changes. And what is known of an account besides its report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::FixView;
use crate::audit::fleet::{
    Brownout, BrownoutMode, CURVE_DAYS, Change, Fleet, FleetAccount, FleetDay, Integration, Mover, State,
    WeekHours,
};
use crate::audit::headline::{day_date, headline};
use crate::audit::outreach::INTEGRATIONS;
use crate::audit::render::rfc3339;
use crate::policy::legacy_use::forecast::{Band, Forecast, LEAST_WEEKS, Outlook, Scale};

#[derive(Serialize)]
pub(super) struct HostView<'a> {
    generated_at: String,
    hosts: &'a [String],
    deprecated_since: Option<String>,
    sunset_at: Option<String>,
    headline: HeadlineView,
    verdicts: BTreeMap<&'static str, CountView>,
    requests_7d: u64,
    unattributed_7d: u64,
    coverage: CoverageView,
    curve: Vec<DayView>,
    forecast: ForecastView,
    clients: Vec<MoverView<'a>>,
    integrations: Vec<MoverView<'a>>,
    new_accounts: &'a [u64],
    returned: &'a [u64],
    brownouts: Vec<BrownoutView<'a>>,
    changes: Vec<ChangeView<'a>>,
}

#[derive(Serialize)]
struct HeadlineView {
    state: &'static str,
    who: String,
    when: String,
    doubt: Option<String>,
}

#[derive(Serialize)]
struct CountView {
    now: u64,
    week_ago: Option<u64>,
}

#[derive(Serialize)]
struct CoverageView {
    share: f64,
    days: u32,
}

#[derive(Serialize)]
struct DayView {
    day: String,
    accounts_7d: Option<u64>,
    requests: u64,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum ForecastView {
    TooEarly { weeks: usize, least_weeks: usize },
    Known(Box<OutlookView>),
}

#[derive(Serialize)]
struct OutlookView {
    today: String,
    accounts: u64,
    scale: &'static str,
    pace_weekly: f64,
    required_weekly: Option<f64>,
    at_sunset: Option<BandView>,
    zero: ZeroView,
    weeks: Vec<BandView>,
}

#[derive(Serialize)]
struct BandView {
    day: String,
    expected: f64,
    low: f64,
    high: f64,
}

#[derive(Serialize)]
struct ZeroView {
    expected: Option<String>,
    earliest: Option<String>,
    latest: Option<String>,
}

#[derive(Serialize)]
struct MoverView<'a> {
    name: &'a str,
    accounts: u64,
    requests: u64,
    fix: Option<FixView<'a>>,
}

#[derive(Serialize)]
struct BrownoutView<'a> {
    id: &'a str,
    started_at: String,
    ended_at: String,
    mode: &'static str,
    accounts: u64,
    requests: u64,
    left: Option<u64>,
}

#[derive(Serialize)]
struct ChangeView<'a> {
    at: String,
    who: Option<&'a str>,
    what: &'a str,
}

/// What is known of an account besides its report.
#[derive(Serialize)]
pub(super) struct KnownView<'a> {
    address: Option<&'a str>,
    requests_24h: u64,
    requests_7d: u64,
    requests_30d: u64,
    writes_daily: f64,
    top_client: Option<&'a str>,
    integrations_30d: usize,
    /// Only of accounts that are told in detail.
    detail: Option<DetailView<'a>>,
}

#[derive(Serialize)]
struct DetailView<'a> {
    curve: [u64; CURVE_DAYS],
    week_hours: WeekHours,
    integrations: Vec<IntegrationView<'a>>,
    integrations_left_out: usize,
}

/// One integration.
#[derive(Serialize)]
pub(in super::super) struct IntegrationView<'a> {
    client: &'a str,
    credential: Option<&'a str>,
    network: Option<&'a str>,
    endpoints: &'a [String],
    requests_30d: u64,
    first_seen: String,
    last_seen: String,
    fix: Option<FixView<'a>>,
}

impl<'a> HostView<'a> {
    pub(super) fn new(fleet: &'a Fleet) -> Self {
        let said = headline(fleet);
        let count = |of: &crate::audit::fleet::Count| CountView { now: of.now, week_ago: of.week_ago };
        Self {
            generated_at: rfc3339(fleet.generated_at),
            hosts: &fleet.hosts,
            deprecated_since: fleet.deprecated_since.map(rfc3339),
            sunset_at: fleet.sunset_at.map(rfc3339),
            headline: HeadlineView {
                state: state(said.state),
                who: said.who,
                when: said.when,
                doubt: said.doubt,
            },
            verdicts: fleet.verdicts.iter().map(|(verdict, of)| (verdict.as_str(), count(of))).collect(),
            requests_7d: fleet.requests,
            unattributed_7d: fleet.unattributed,
            coverage: CoverageView { share: fleet.coverage.share, days: fleet.coverage.days },
            curve: fleet.days.iter().map(DayView::from).collect(),
            forecast: ForecastView::from(&fleet.forecast),
            clients: fleet.clients.iter().map(MoverView::from).collect(),
            integrations: fleet.integrations.iter().map(MoverView::from).collect(),
            new_accounts: &fleet.new_accounts,
            returned: &fleet.returned,
            brownouts: fleet.brownouts.iter().map(BrownoutView::from).collect(),
            changes: fleet.changes.iter().map(ChangeView::from).collect(),
        }
    }
}

impl<'a> KnownView<'a> {
    pub(super) fn new(of: &'a FleetAccount) -> Self {
        let detail = || DetailView {
            curve: of.curve,
            week_hours: of.hours(),
            integrations: of.details.iter().take(INTEGRATIONS).map(IntegrationView::from).collect(),
            integrations_left_out: of.details.len().saturating_sub(INTEGRATIONS),
        };
        Self {
            address: of.address.as_deref(),
            requests_24h: of.requests.day,
            requests_7d: of.requests.week,
            requests_30d: of.requests.month,
            writes_daily: of.writes_daily,
            top_client: of.top_client.as_deref(),
            integrations_30d: of.integrations,
            detail: (!of.details.is_empty()).then(detail),
        }
    }
}

impl From<&FleetDay> for DayView {
    fn from(of: &FleetDay) -> Self {
        Self { day: day_date(of.day), accounts_7d: of.accounts_7d, requests: of.requests }
    }
}

impl From<&Forecast> for ForecastView {
    fn from(of: &Forecast) -> Self {
        match of {
            Forecast::TooEarly(weeks) => Self::TooEarly { weeks: *weeks, least_weeks: LEAST_WEEKS },
            Forecast::Known(outlook) => Self::Known(Box::new(OutlookView::from(outlook))),
        }
    }
}

impl From<&Outlook> for OutlookView {
    fn from(of: &Outlook) -> Self {
        Self {
            today: day_date(of.today),
            accounts: of.accounts,
            scale: match of.scale {
                Scale::Linear => "linear",
                Scale::Logarithmic => "logarithmic",
            },
            pace_weekly: of.pace_weekly,
            required_weekly: of.required_weekly,
            at_sunset: of.at_sunset.as_ref().map(BandView::from),
            zero: ZeroView {
                expected: of.zero.expected.map(day_date),
                earliest: of.zero.earliest.map(day_date),
                latest: of.zero.latest.map(day_date),
            },
            weeks: of.weeks.iter().map(BandView::from).collect(),
        }
    }
}

impl From<&Band> for BandView {
    fn from(of: &Band) -> Self {
        Self { day: day_date(of.day), expected: of.expected, low: of.low, high: of.high }
    }
}

impl<'a> From<&'a Mover> for MoverView<'a> {
    fn from(of: &'a Mover) -> Self {
        let fix = of.recipe.as_ref().map(FixView::from);
        Self { name: &of.name, accounts: of.accounts, requests: of.requests, fix }
    }
}

impl<'a> From<&'a Brownout> for BrownoutView<'a> {
    fn from(of: &'a Brownout) -> Self {
        Self {
            id: &of.id,
            started_at: rfc3339(of.started_at),
            ended_at: rfc3339(of.ended_at),
            mode: match of.mode {
                BrownoutMode::Observe => "observe",
                BrownoutMode::Soft => "soft",
                BrownoutMode::Hard => "hard",
            },
            accounts: of.accounts,
            requests: of.requests,
            left: of.left,
        }
    }
}

impl<'a> From<&'a Change> for ChangeView<'a> {
    fn from(of: &'a Change) -> Self {
        Self { at: rfc3339(of.at), who: of.who.as_deref(), what: &of.what }
    }
}

impl<'a> From<&'a Integration> for IntegrationView<'a> {
    fn from(of: &'a Integration) -> Self {
        Self {
            client: &of.client,
            credential: of.credential.as_deref(),
            network: of.network.as_deref(),
            endpoints: &of.endpoints,
            requests_30d: of.requests,
            first_seen: rfc3339(of.first_seen),
            last_seen: rfc3339(of.last_seen),
            fix: of.recipe.as_ref().map(FixView::from),
        }
    }
}

/// For programs; what people read is another word.
const fn state(state: State) -> &'static str {
    match state {
        State::Zero => "zero",
        State::OnPace => "on_pace",
        State::OffPace => "off_pace",
        State::PastSunset => "past_sunset",
        State::TooEarly => "too_early",
        State::NoSunset => "no_sunset",
    }
}
