//! Where rows come from: a file, a pipe or standard input, plain or gzip, in UTF-8 or UTF-16. What comes through a pipe
//! is put into a temporary file first, so that it can be read more than once.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;

use super::rows::MOST_TEXT_BYTES;
use crate::file_kind::FileKind;
use crate::{Error, Result, artifact, source};

/// Conversations shrink five- to tenfold; a file beyond this was made to fill a disk.
const MOST_GZIP_RATIO: u64 = 100;
const LEAST_GZIP_ALLOWANCE: u64 = 16 << 20;

const EXPECTED: &str = "rows of JSON";
const SUPPORTED: &str = "JSONL and JSON arrays are, plain or gzip";

/// An open file of rows that can be read from its start as often as needed.
pub struct Input {
    pub path: PathBuf,
    file: File,
    size: u64,
}

impl Input {
    /// `-` is standard input.
    pub fn open(path: &Path) -> Result<Self> {
        let (file, size) = if path == Path::new("-") {
            spool(path, std::io::stdin().lock())?
        } else {
            let kind = std::fs::metadata(path).map_err(Error::io(path))?.file_type();
            if is_pipe(kind) { spool(path, open_pipe(path)?)? } else { source::open_regular(path)? }
        };
        Ok(Self { path: path.to_owned(), file, size })
    }

    /// The text from its start, and how many bytes of it may be read. Other kinds of files are refused by name.
    pub fn text(&self) -> Result<(Box<dyn BufRead>, u64)> {
        let head = source::head(&self.path, &self.file)?;
        let file = self.file.try_clone().map_err(Error::io(&self.path))?;
        let raw = BufReader::with_capacity(1 << 16, file);
        if FileKind::of(&head) != Some(FileKind::Gzip) {
            return Ok((self.decoded(raw, &head)?, MOST_TEXT_BYTES));
        }
        let allowance = self.size.saturating_mul(MOST_GZIP_RATIO).max(LEAST_GZIP_ALLOWANCE);
        let mut unpacked = BufReader::with_capacity(1 << 16, Gunzip::new(raw));
        let head = match unpacked.fill_buf() {
            Ok(head) => head.to_vec(),
            // The reader of the rows meets the same error and names it.
            Err(_) => Vec::new(),
        };
        Ok((self.decoded(unpacked, &head)?, allowance.min(MOST_TEXT_BYTES)))
    }

    fn decoded(&self, reader: impl BufRead + 'static, head: &[u8]) -> Result<Box<dyn BufRead>> {
        if let Some(kind) = FileKind::of(head) {
            return Err(kind.error(&self.path, EXPECTED, SUPPORTED));
        }
        let encoding = match head {
            [0xff, 0xfe, ..] | [b'{' | b'[', 0, ..] => encoding_rs::UTF_16LE,
            [0xfe, 0xff, ..] | [0, b'{' | b'[', ..] => encoding_rs::UTF_16BE,
            _ => return Ok(Box::new(reader)),
        };
        let decoder = encoding_rs_io::DecodeReaderBytesBuilder::new().encoding(Some(encoding)).build(reader);
        Ok(Box::new(BufReader::with_capacity(1 << 16, decoder)))
    }

    /// Of the bytes as they lie in the file.
    pub fn sha256(&self) -> Result<String> {
        (&self.file).rewind().map_err(Error::io(&self.path))?;
        artifact::sha256_reader(&self.file).map_err(Error::io(&self.path))
    }
}

fn spool(path: &Path, reader: impl Read) -> Result<(File, u64)> {
    let mut file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir()))?;
    let size = std::io::copy(&mut reader.take(MOST_TEXT_BYTES + 1), &mut file).map_err(Error::io(path))?;
    if size > MOST_TEXT_BYTES {
        let problem = format!("more than {} MiB come through this pipe; split them", MOST_TEXT_BYTES >> 20);
        return Err(Error::malformed(path, "size", problem));
    }
    file.flush().map_err(Error::io(path))?;
    Ok((file, size))
}

#[cfg(unix)]
fn is_pipe(kind: std::fs::FileType) -> bool {
    std::os::unix::fs::FileTypeExt::is_fifo(&kind)
}

#[cfg(not(unix))]
fn is_pipe(_: std::fs::FileType) -> bool {
    false
}

/// A pipe whose writer is there or comes soon. Opening it the ordinary way would wait for a writer without end.
#[cfg(unix)]
fn open_pipe(path: &Path) -> Result<impl Read> {
    use std::os::unix::fs::OpenOptionsExt;
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(10);

    let started = Instant::now();
    let mut pipe = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(Error::io(path))?;
    let mut first = vec![0; 1 << 16];
    loop {
        match pipe.read(&mut first) {
            // Without a writer a pipe is at its end; with one that has nothing to say yet, reading would block.
            Ok(0) if started.elapsed() > PATIENCE => {
                let problem = format!("nothing has written to this pipe for {} seconds", PATIENCE.as_secs());
                return Err(Error::malformed(path, "kind", problem).with_hint("Start the program that writes into it."));
            }
            Ok(0) => std::thread::sleep(Duration::from_millis(50)),
            Ok(read) => {
                first.truncate(read);
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                first.clear();
                break;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io(path)(error)),
        }
    }
    Ok(std::io::Cursor::new(first).chain(Blocking(pipe)))
}

#[cfg(not(unix))]
fn open_pipe(path: &Path) -> Result<impl Read> {
    File::open(path).map_err(Error::io(path))
}

/// Waits for what is not there yet.
#[cfg(unix)]
struct Blocking(File);

#[cfg(unix)]
impl Read for Blocking {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            match self.0.read(bytes) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                read => return read,
            }
        }
    }
}

/// All members of a gzip file. Zeros behind a member (the padding of tapes and block devices) are skipped, as gzip
/// does.
struct Gunzip<R> {
    member: Option<GzDecoder<R>>,
    /// Told again whenever it is read on: the decoder tells it once.
    failure: Option<(std::io::ErrorKind, String)>,
}

impl<R: BufRead> Gunzip<R> {
    fn new(reader: R) -> Self {
        Self { member: Some(GzDecoder::new(reader)), failure: None }
    }

    fn read_member(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let Some(member) = &mut self.member else { return Ok(0) };
            let read = member.read(bytes)?;
            if read > 0 || bytes.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { return Ok(0) };
            loop {
                let buffer = rest.fill_buf()?;
                let zeros = buffer.iter().take_while(|&&byte| byte == 0).count();
                match buffer.get(zeros) {
                    Some(0x1f) => {
                        rest.consume(zeros);
                        self.member = Some(GzDecoder::new(rest));
                        break;
                    }
                    Some(_) => {
                        let problem = "there is other data behind its end";
                        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, problem));
                    }
                    None if zeros == 0 => return Ok(0),
                    None => rest.consume(zeros),
                }
            }
        }
    }
}

impl<R: BufRead> Read for Gunzip<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        if self.failure.is_none() {
            match self.read_member(bytes) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    self.failure = Some((error.kind(), error.to_string()));
                }
                read => return read,
            }
        }
        match &self.failure {
            Some((kind, problem)) => Err(std::io::Error::new(*kind, problem.as_str())),
            None => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> std::io::Result<String> {
        let mut text = String::new();
        Gunzip::new(bytes).read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn gzip_members_are_joined_and_zeros_behind_them_skipped() {
        let zeros = [0; 70_000];
        assert_eq!(unpack(&[gzip("one "), gzip("two")].concat()).unwrap(), "one two");
        assert_eq!(unpack(&[gzip("one "), zeros.to_vec(), gzip("two"), zeros.to_vec()].concat()).unwrap(), "one two");
        assert!(unpack(&[&gzip("one")[..], &zeros, b"garbage"].concat()).unwrap_err().to_string().contains("behind"));
        assert_eq!(unpack(&gzip("one")[..12]).unwrap_err().kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
