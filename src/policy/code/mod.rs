//! A stable code for each kind of trouble that a person reads about: `E` and four digits, in blocks by room. Whoever
//! tells of trouble names one of these; what it means and how it is mended is text beside this file, from which
//! `cellgate help E0121` and `docs/errors.md` are made ([`explanation`]).
//!
//! A code is never given a second meaning: `tests/config/codes.txt` keeps all that there have ever been. What a message
//! says besides, and whether it is an error, is the matter of whoever writes it.

mod explanation;
mod of;

use std::fmt;

pub use explanation::{BASE, Example, Explanation, page};

/// Declares the codes.
macro_rules! codes {
    ($($(#[doc = $room:literal])* $name:ident = $number:literal,)*) => {
        /// A kind of trouble. The first two digits are its room.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[allow(missing_docs)]
        pub enum Code {
            $($(#[doc = $room])* $name = $number,)*
        }

        impl Code {
            /// Every code, by number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
        }
    };
}

codes! {
    /// From here on: files, YAML, and values of any key.
    FileNotRead = 101,
    NotYaml = 102,
    EmptyFile = 103,
    LargeFile = 104,
    NotUtf8 = 105,
    ControlCharacter = 106,
    Tab = 107,
    SecondDocument = 108,
    AnchorOrTag = 109,
    KeyTwice = 110,
    TooDeep = 111,
    TooManyValues = 112,
    LongText = 113,
    KeyIsNoText = 114,
    TwoReadings = 115,
    NotAMapping = 116,
    Version = 117,
    TooManyProblems = 118,
    UnknownKey = 121,
    Missing = 122,
    WrongKind = 123,
    EmptyList = 124,
    LongList = 125,
    NotAWord = 126,
    Number = 127,
    TimeSpan = 128,
    Label = 129,
    Moment = 130,
    Share = 131,
    Url = 132,
    Network = 133,
    AddressAndPort = 134,
    HostName = 135,
    FilePath = 136,
    AccountId = 137,
    Text = 138,
    UrlPath = 139,
    FieldName = 140,
    FileMode = 141,
    NameTwice = 143,
    NoSuchName = 144,
    OutsideTheFolder = 145,
    PathTemplate = 146,
    TimeZone = 147,
    EndpointAddress = 148,
    HostPattern = 149,
    /// From here on: what the sections of the files mean together.
    SharedCellTwice = 201,
    ZoneTwice = 202,
    EndpointTwice = 203,
    HalfAPair = 205,
    HostsOverlap = 206,
    SurfaceTwice = 207,
    LegacyHostWithoutSchedule = 208,
    CellHostWithSchedule = 209,
    CellHostWithoutPrefix = 210,
    NoSuchDomain = 211,
    SunsetBeforeDeprecation = 213,
    WindowLargerThanConnection = 214,
    TemplateNamesNothing = 215,
    PathsTwice = 216,
    TokenLengths = 218,
    RangeEndsBefore = 219,
    RangesOverlap = 220,
    ClassWithoutPathsTwice = 221,
    PartLongerThanWhole = 222,
    TargetLargerThanHead = 223,
    WaitingPerCell = 224,
    RoutingCookieTaken = 225,
    RoutingCookieWithoutSession = 226,
    LimiterOff = 227,
    GrpcOnHttp1 = 228,
    CheckTimeout = 229,
    CheckKeyWithoutEffect = 230,
    ObserveWithoutEnd = 231,
    EndWithoutObserve = 232,
    LearnMoreThanAll = 233,
    AddressTwice = 241,
    PortWithoutRedirect = 242,
    RedirectOnHttps = 243,
    SchemeOnHttps = 244,
    TrustsEverybody = 245,
    AddressInANetwork = 246,
    LoopbackAddress = 247,
    SharesMustRise = 248,
    SignersInTheFolder = 249,
    DoorForNobody = 250,
    ExtensionTwice = 251,
    BrownoutCalledAll = 252,
    BrownoutAccountTwice = 253,
    TooManyWindows = 254,
    WindowsOverlap = 255,
    RepeatWithoutEnd = 256,
    RepeatEndsBefore = 257,
    HourNotOnTheClock = 258,
    EndWithoutRepeat = 259,
    KeyWithoutEffect = 260,
    FamilyWithoutCondition = 261,
    FamilyContradicts = 262,
    SecretOverHttp = 263,
    FixWithoutHost = 264,
    NoPrivateKey = 271,
    KeyOfAnother = 272,
    KeyKind = 273,
    NoCertificateInFile = 274,
    UnreadableCertificate = 275,
    CertificateExpired = 276,
    CertificateNotYet = 277,
    NotAuthorities = 278,
    CertificateForNoHost = 279,
    HostWithoutCertificate = 280,
    NoCertificates = 281,
    OcspResponse = 282,
    RevocationList = 283,
    RevocationListOverdue = 284,
    NoKeyInFile = 285,
    TicketKeyTwice = 286,
    /// From here on: tables.
    TableFileKind = 301,
    TableEmpty = 302,
    HeaderLine = 303,
    AccountWithoutRow = 304,
    RowTwice = 305,
    PrefixReserved = 306,
    TooManyPrefixes = 307,
    BrokenRow = 308,
    TooManyRows = 309,
    LastLineOpen = 310,
    Fingerprint = 311,
    MoveToItself = 312,
    MoveAndTable = 313,
    Epoch = 314,
    TokenDigest = 315,
    /// From here on: refusals of requests.
    BadRequestLine = 401,
    BadHeaderLine = 402,
    BadHost = 403,
    HostMismatch = 404,
    BadContentLength = 405,
    BadTransferEncoding = 406,
    BadPath = 407,
    BadAccountId = 408,
    DuplicateKey = 409,
    BadConnectionHeader = 410,
    BadBody = 411,
    BadStream = 412,
    NoAccount = 413,
    UnmappedAccount = 414,
    CredentialRequired = 415,
    ConflictingAccounts = 416,
    Misdirected = 417,
    MethodNotAllowed = 418,
    ExpectationFailed = 419,
    TargetTooLong = 420,
    HeadersTooLarge = 421,
    ClientTimeout = 422,
    NotImplemented = 423,
    CellUnreachable = 424,
    CellBroken = 425,
    CellTimeout = 426,
    ProcessFull = 427,
    CellFull = 428,
    GroupFull = 429,
    LowPriority = 430,
    QueueFull = 431,
    WaitedTooLong = 432,
    Recovering = 433,
    NoHeadroom = 434,
    CellDown = 435,
    Operator = 436,
    AccountMoving = 437,
    CutByMove = 438,
    Drain = 439,
    BrownoutSoft = 440,
    BrownoutHard = 441,
    Sunset = 442,
    Gone = 443,
    Loop = 444,
    Internal = 445,
    /// From here on: guards and approvals.
    Baseline = 501,
    Removal = 502,
    ProtectedCell = 503,
    AccountsRemoved = 504,
    AccountsMoved = 505,
    RowsRemoved = 506,
    RowsRepointed = 507,
    TableSize = 508,
    Traffic = 509,
    Capacity = 510,
    Hold = 511,
    GuardedEpoch = 512,
    Weakened = 513,
    Mixed = 514,
    Brownouts = 515,
    Approvals = 516,
    BreakGlass = 517,
    AuditTrail = 518,
    SignerLine = 519,
    /// From here on: starts, the state folder and upgrades.
    CannotListen = 601,
    StateLocked = 602,
    StateCannotBeLocked = 603,
    NothingToServe = 604,
    AdminAddress = 605,
    AdminSocket = 606,
    NoLastGood = 608,
    LastGoodUnreadable = 609,
    LastGoodDamaged = 610,
    TrailUnwritable = 611,
    NotUpgraded = 612,
    StateDoesNotLast = 613,
    FewDescriptors = 614,
    /// From here on: what a running process says in its log.
    ServingLastGood = 701,
    NeedsRestart = 702,
    RolledBack = 703,
    NotSaved = 704,
    BooksUnwritable = 711,
    BooksIncomplete = 712,
    SpoolUnwritable = 713,
    SpoolUnreadable = 714,
    BooksReplaced = 715,
    BooksDamaged = 716,
    FleetDatabaseAway = 717,
    FleetDatabaseGap = 718,
    AccessLogUnwritable = 721,
    TrailBroken = 722,
    TrailTorn = 723,
    TrailGap = 724,
    LeversLost = 725,
    OverrideDamaged = 726,
    RolledBackForgotten = 727,
    Panicked = 728,
    DrainCut = 729,
    NameNotRefreshed = 731,
    FramesWithoutAnswer = 732,
    TimeIsEnding = 733,
    ObservingOnly = 734,
    AnotherUser = 735,
    SpansLost = 736,
    AdminDoorFiles = 737,
    StatusNotShown = 738,
    StatusNotTold = 739,
    StatusForgotten = 740,
    /// From here on: commands.
    ListedUnknown = 801,
    ListedTwice = 802,
    MovingAlready = 803,
    NotMoving = 804,
    FlippedAlready = 805,
    NoTableOfMoves = 806,
    ReplicaAddress = 807,
    NobodyAnswers = 808,
    NoSuchNumber = 809,
    BooksUnreadable = 810,
    MapNotRead = 811,
    LineNotTakenOver = 812,
    NoNewFolder = 813,
}

impl Code {
    /// The digits behind `E`.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Reads `E0421`, `e0421`, `E421` or `421`; `None` where that is no number of four digits at most. The number need not
    /// be one of a code.
    pub fn digits(text: &str) -> Option<u16> {
        let digits = text.strip_prefix(['E', 'e']).unwrap_or(text);
        let plain = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }

    /// The code with this number.
    pub fn of_number(number: u16) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The code whose number comes nearest.
    pub fn nearest(number: u16) -> Self {
        let distance = |code: &&Self| code.number().abs_diff(number);
        *Self::ALL.iter().min_by_key(distance).expect("there are codes")
    }

    /// The code of what has this name in logs, metrics and reports: the reason of a refusal, or a guard.
    pub fn named(name: &str) -> Option<Self> {
        let is_it = |code: &Self| code.explanation().name == Some(name);
        Self::ALL.iter().copied().find(is_it)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "E{:04}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_so_that_none_stands_twice() {
        assert!(Code::ALL.is_sorted_by(|one, next| one.number() < next.number()));
        assert!(Code::ALL.len() > 100);
    }

    #[test]
    fn a_code_is_read_as_people_write_it() {
        for text in ["E0121", "e0121", "E121", "121", "0121"] {
            assert_eq!(Code::digits(text).and_then(Code::of_number), Some(Code::UnknownKey), "{text}");
        }
        for text in ["", "E", "E00121", "unmapped_account", "E12x", "+121", "EE121"] {
            assert_eq!(Code::digits(text), None, "{text}");
        }
        assert_eq!(Code::UnknownKey.to_string(), "E0121");
        assert_eq!((Code::nearest(0), Code::nearest(9999)), (Code::FileNotRead, Code::NoNewFolder));
        assert_eq!(Code::nearest(142), Code::FileMode);
    }

    #[test]
    fn what_has_a_name_is_found_by_it() {
        assert_eq!(Code::named("unmapped_account"), Some(Code::UnmappedAccount));
        assert_eq!(Code::named("accounts_removed"), Some(Code::AccountsRemoved));
        assert_eq!(Code::named("unmapped"), None);
    }
}
