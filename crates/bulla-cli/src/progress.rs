//! A progress bar on standard error, for long work that somebody watches.

use std::fs::File;
use std::io::{self, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Less than this is done before a bar could be read.
const LONG: u64 = 64 * 1024 * 1024;

/// Reads an input, and shows how far it got once it is known to be long. Where standard error is no terminal nothing shows.
pub(crate) struct Watched {
    input: File,
    read: u64,
    bar: Option<ProgressBar>,
}

impl Watched {
    pub(crate) fn new(input: File) -> Self {
        Self { input, read: 0, bar: None }
    }

    fn begin(&self) -> ProgressBar {
        let length = self.input.metadata().ok().filter(|found| found.is_file()).map(|found| found.len());
        let (bar, template) = match length {
            Some(length) => {
                (ProgressBar::new(length), "{wide_bar} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left")
            }
            None => (ProgressBar::no_length(), "{spinner} {bytes}, {bytes_per_sec}"),
        };
        bar.set_draw_target(ProgressDrawTarget::stderr_with_hz(4));
        match ProgressStyle::with_template(template) {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        }
    }
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(bytes)?;
        self.read = self.read.saturating_add(read as u64);
        if self.read >= LONG {
            if self.bar.is_none() {
                self.bar = Some(self.begin());
            }
            if let Some(bar) = &self.bar {
                bar.set_position(self.read);
            }
        }
        Ok(read)
    }
}

impl Drop for Watched {
    /// Whatever is said next stands where the bar was.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
