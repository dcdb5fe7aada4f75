//! Brownouts and promises of more time, in `cellgate.yaml`.

use super::{Digits, Field, NONE, REQUIRED, mapping};

mapping! {
    /// A planned refusal of legacy traffic (docs/brownouts.md). Never of an account's own address.
    Brownout {
        /// Unique label, as answers, logs, metrics and `cellgate brownout cancel` name it. Another id is another choice of accounts.
        id: String = REQUIRED;
        /// `observe` (counts, changes nothing), `soft` (503 with Retry-After) or `hard` (410).
        mode: String = REQUIRED;
        /// When it is in force.
        windows: Vec<Field<BrownoutWindow>> = REQUIRED;
        /// Which part of the accounts: `10%`, `0.5%`. Always the same ones; a larger share has all of a smaller one.
        share: String = "100%";
        /// Only these accounts; of them the share.
        accounts: Vec<Field<Digits>> = "all";
        /// Only hosts and accounts of these schedules.
        schedules: Vec<Field<String>> = "all";
        /// Only these surfaces.
        surfaces: Vec<Field<String>> = "all";
        /// Only these endpoint classes.
        classes: Vec<Field<String>> = "all";
        /// Requests that name no account, too.
        no_account: bool = false;
        /// It is meant to meet all accounts: what the guard `brownouts` asks of a `hard` one of 100% without `accounts`.
        everybody: bool = false;
    }
}

mapping! {
    /// When a brownout is in force.
    BrownoutWindow {
        /// `2026-11-24T14:00:00Z`, `2026-11-24T09:00:00-05:00`, or with `zone` local time: `2026-11-24T09:00`.
        start: String = REQUIRED;
        /// Time zone of `start` and `until`, such as `America/New_York`.
        zone: String = NONE;
        /// How long, from 1s to 1d.
        lasts: String = REQUIRED;
        /// Again each `day` or `week` at the same time on the clock.
        every: String = NONE;
        /// No repetition begins after this; written like `start`. Required with `every`.
        until: String = NONE;
    }
}

mapping! {
    /// An account that brownouts leave alone for a time.
    Exemption {
        /// The account.
        account: Digits = REQUIRED;
        /// Until when, as `2026-12-31T00:00:00Z`.
        until: String = REQUIRED;
        /// Why: one line.
        reason: String = REQUIRED;
        /// Only these brownouts.
        brownouts: Vec<Field<String>> = "all";
    }
}

mapping! {
    /// An account that was promised more time than its schedule says. Never makes a sunset earlier.
    Extension {
        /// The account.
        account: Digits = REQUIRED;
        /// Its sunset, as `2027-01-31T00:00:00Z`; its `Sunset` header says it.
        sunset_at: String = REQUIRED;
        /// Why: one line.
        reason: String = REQUIRED;
        /// What comes after it: `keep`, `refuse` or `gone`.
        after_sunset: String = "that of the schedule";
    }
}
