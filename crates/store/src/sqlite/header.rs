//! The first bytes of a SQLite file, which show whether another program changed the file.

use std::{fs::File, io, time::SystemTime};

/// The header, the size and the time of the last change of a SQLite file.
///
/// In WAL mode only a checkpoint changes the file. See <https://sqlite.org/fileformat2.html>, section 1.3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    bytes: [u8; LENGTH],
    size: u64,
    modified: Option<SystemTime>,
}

const LENGTH: usize = 100;
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// The places of numbers in the header. The page size has two bytes, the others four.
const PAGE_SIZE: usize = 16;
const PAGES: usize = 28;
const CHANGE_COUNTER: usize = 24;
const SCHEMA_COOKIE: usize = 40;
const APPLICATION_ID: usize = 68;

impl Header {
    /// Reads the header. It is all zeros where the file is shorter.
    pub(crate) fn read(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let mut bytes = [0; LENGTH];
        read_at_start(file, &mut bytes)?;
        Ok(Self { bytes, size: metadata.len(), modified: metadata.modified().ok() })
    }

    /// True if the file ends before its last page. It may, if a crash ended a checkpoint: then the log has the rest.
    pub(crate) fn is_short(&self) -> bool {
        self.size > 0 && self.size < u64::from(self.number(PAGES)) * self.page_size()
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Why this cannot be a later state of the file that had the header `known`; `None` if it can.
    pub(crate) fn contradicts(&self, known: &Self) -> Option<&'static str> {
        let (is_sqlite, was_sqlite) = (self.bytes.starts_with(MAGIC), known.bytes.starts_with(MAGIC));
        let is_older = |place| self.number(place) < known.number(place);
        if self.size < known.size && (self.size < LENGTH as u64 || self.is_short()) {
            Some("it was truncated")
        } else if was_sqlite && !is_sqlite {
            Some("its header was overwritten")
        } else if self.page_size() != known.page_size() || self.number(APPLICATION_ID) != known.number(APPLICATION_ID) {
            Some("another file was copied over it")
        } else if is_older(CHANGE_COUNTER) || is_older(SCHEMA_COOKIE) {
            Some("an older file was copied over it")
        } else {
            None
        }
    }

    fn page_size(&self) -> u64 {
        match self.number(PAGE_SIZE) >> 16 {
            1 => 65_536,
            size => u64::from(size),
        }
    }

    /// The number of four bytes at this place.
    fn number(&self, place: usize) -> u32 {
        self.bytes.get(place..).and_then(<[u8]>::first_chunk).map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }
}

#[cfg(unix)]
fn read_at_start(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, bytes, 0)
}

#[cfg(windows)]
fn read_at_start(file: &File, bytes: &mut [u8]) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, bytes, 0)
}
