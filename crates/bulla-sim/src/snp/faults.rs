//! What goes wrong on demand in a SEV-SNP guest.

/// A command of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnpCommand {
    /// SNP_GET_REPORT.
    Report,
    /// SNP_GET_DERIVED_KEY.
    Key,
    /// SNP_GET_EXT_REPORT, and reports in configfs.
    ExtendedReport,
}

/// What goes wrong once, the next time that the command is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnpFault {
    /// The kernel refuses with this error of the system, by number, and asks nobody.
    Fails(i32),
    /// The host was busy for a minute: ETIMEDOUT, and the channel is shut.
    Busy,
    /// The host is busy, and an old driver says so at once.
    Throttled,
    /// The host refuses with this code, and the channel is shut.
    HostRefuses(u32),
    /// The firmware's interface refuses the message with this code, and the channel is shut.
    FirmwareRefuses(u32),
    /// The answer cannot be decrypted, and the channel is shut.
    Undecodable,
    /// The channel was shut by somebody before.
    ChannelShut,
    /// The command succeeds, and its answer has this status.
    Status(u32),
    /// The command succeeds, and the key is zero.
    ZeroKey,
    /// The report is over other report data.
    OtherData,
    /// The answer says that the report has another size.
    Size(u32),
    /// The report is shifted, so that its fields are not where they belong.
    Torn,
    /// The measurement is zero.
    NoMeasurement,
    /// The machine hides its chip's keys, and signs nothing.
    Unsigned,
    /// The host has no certificates.
    NoCertificates,
    /// The host has more certificates than there is room for.
    ManyCertificates,
    /// Somebody else writes to the request's folder behind our write.
    OtherWriter,
    /// Somebody else writes there when the report is about to be read, which is then over their data.
    OtherReader,
}
