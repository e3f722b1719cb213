//! Local reports (R35): which bytes are one, and that what they say is appraised exactly as a quote of the same guest.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod report {
    pub(crate) mod bench;
    mod bytes;
    mod like_a_quote;
}
