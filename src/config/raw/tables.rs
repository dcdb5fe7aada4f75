//! The tables that may be YAML instead of CSV, and the client families.

use super::{Digits, Field, NONE, REQUIRED, mapping};

mapping! {
    /// `accounts.yaml`.
    Accounts {
        /// Version of the format; only `1` exists.
        version: u64 = REQUIRED;
        /// All accounts; an empty table is refused.
        accounts: Vec<Field<Account>> = REQUIRED;
    }
}

mapping! {
    /// One account.
    Account {
        /// The numeric id, unique.
        account: Digits = REQUIRED;
        /// Labels that name the account in a host, each unique in the table; the first is the one shown to clients.
        prefixes: Vec<Field<String>> = NONE;
        /// The cell that holds the account.
        cell: String = REQUIRED;
        /// Browser navigations on a legacy host are redirected to the account's own address. API requests never are.
        redirect_browsers: bool = false;
        /// A schedule of its own, instead of its host's.
        schedule: String = NONE;
    }
}

mapping! {
    /// `environments.yaml`.
    Environments {
        /// Version of the format; only `1` exists.
        version: u64 = REQUIRED;
        /// All environments.
        environments: Vec<Field<Environment>> = REQUIRED;
    }
}

mapping! {
    /// One environment.
    Environment {
        /// The numeric id, unique.
        environment: Digits = REQUIRED;
        /// The account it belongs to.
        account: Digits = REQUIRED;
    }
}

mapping! {
    /// `clients.yaml`.
    Clients {
        /// Version of the format; only `1` exists.
        version: u64 = REQUIRED;
        /// Client families; the first that matches a request names it.
        families: Vec<Field<Family>> = REQUIRED;
    }
}

mapping! {
    /// One client family; all conditions that are given must hold, and at least one must be given.
    Family {
        /// Unique name, as reports show it.
        name: String = REQUIRED;
        /// User-Agent begins with this, in any case.
        user_agent_prefix: String = NONE;
        /// User-Agent contains this, in any case.
        user_agent_contains: String = NONE;
        /// The request has no User-Agent.
        no_user_agent: bool = false;
        /// A header has a value.
        header: FamilyHeader = NONE;
        /// What its owner has to change, for reports of an account.
        fix: FamilyFix = NONE;
    }
}

mapping! {
    /// How a client is made to call the account's own address.
    FamilyFix {
        /// Why it calls the legacy host.
        why: String = NONE;
        /// What to set, and where; `{host}` in it becomes the account's own address.
        how: String = REQUIRED;
    }
}

mapping! {
    /// A header and its value.
    FamilyHeader {
        /// Name of the header.
        name: String = REQUIRED;
        /// The whole value, in any case.
        value: String = REQUIRED;
    }
}
