//! Little-endian numbers and strings out of a reader that may not give more than a stated number of bytes. Nothing is
//! allocated for a length that the rest of the file could not hold.

use std::io::{ErrorKind, Read};

pub struct Bytes<R> {
    source: R,
    left: u64,
    taken: u64,
    /// More was asked for than there is.
    ended: bool,
}

/// What is wrong, for a message that the caller completes with a place.
pub type Problem = String;

impl<R: Read> Bytes<R> {
    /// `limit` is what the file has, or may be believed to have.
    pub fn new(source: R, limit: u64) -> Self {
        Self { source, left: limit, taken: 0, ended: false }
    }

    /// Bytes taken since the start.
    pub fn position(&self) -> u64 {
        self.taken
    }

    /// Whether something did not fit into what the file has.
    pub fn ended(&self) -> bool {
        self.ended
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Problem> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    pub fn u32(&mut self) -> Result<u32, Problem> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Problem> {
        self.array().map(u64::from_le_bytes)
    }

    pub fn vector(&mut self, length: u64) -> Result<Vec<u8>, Problem> {
        self.check(length)?;
        let mut bytes = vec![0; length as usize];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A length and as many bytes of UTF-8, at most `limit`.
    pub fn string(&mut self, limit: u64) -> Result<String, Problem> {
        let length = self.u64()?;
        if length > limit {
            return Err(format!("is {length} bytes long; the limit is {limit}"));
        }
        String::from_utf8(self.vector(length)?).map_err(|_| "is not UTF-8".to_owned())
    }

    /// That so many items of at least `least` bytes each can follow.
    pub fn check_count(&mut self, count: u64, least: u64) -> Result<usize, Problem> {
        match count.checked_mul(least) {
            Some(bytes) => self.check(bytes).map(|()| count as usize),
            None => Err(format!("counts {count} items; only {} bytes are left", self.left)),
        }
    }

    fn check(&mut self, length: u64) -> Result<(), Problem> {
        if length > self.left {
            self.ended = true;
            return Err(format!("needs {length} bytes; only {} are left", self.left));
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Problem> {
        let length = bytes.len() as u64;
        self.check(length)?;
        self.source.read_exact(bytes).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => "the file ends here".to_owned(),
            _ => error.to_string(),
        })?;
        self.left -= length;
        self.taken += length;
        Ok(())
    }
}
