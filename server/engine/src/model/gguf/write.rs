//! For tests: GGUF files made in memory, well formed or not; and mutants of any file.

use rand::{Rng, SeedableRng};

#[derive(Default)]
pub struct Writer {
    pub version: u32,
    /// Said instead of the true counts.
    pub n_tensors: Option<u64>,
    pub n_keys: Option<u64>,
    keys: Vec<Vec<u8>>,
    entries: Vec<Vec<u8>>,
    pub data: Vec<u8>,
}

impl Writer {
    /// A value by its bytes: type, then content.
    pub fn raw(&mut self, key: &str, value: &[u8]) {
        self.keys.push([&text(key), value].concat());
    }

    pub fn text(&mut self, key: &str, value: &str) {
        self.raw(key, &[&8u32.to_le_bytes()[..], &text(value)].concat());
    }

    pub fn unsigned(&mut self, key: &str, value: u32) {
        self.raw(key, &[4u32.to_le_bytes(), value.to_le_bytes()].concat());
    }

    pub fn float(&mut self, key: &str, value: f32) {
        self.raw(key, &[6u32.to_le_bytes(), value.to_le_bytes()].concat());
    }

    pub fn flag(&mut self, key: &str, value: bool) {
        self.raw(key, &[7, 0, 0, 0, u8::from(value)]);
    }

    pub fn texts(&mut self, key: &str, values: &[impl AsRef<str>]) {
        self.array(key, 8, values.len(), values.iter().flat_map(|value| text(value.as_ref())).collect());
    }

    pub fn floats(&mut self, key: &str, values: &[f32]) {
        self.array(key, 6, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    pub fn integers(&mut self, key: &str, values: &[i32]) {
        self.array(key, 5, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect());
    }

    fn array(&mut self, key: &str, kind: u32, count: usize, content: Vec<u8>) {
        let head = [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &(count as u64).to_le_bytes()].concat();
        self.raw(key, &[head, content].concat());
    }

    /// An F32 tensor; the shape as HF has it.
    pub fn tensor(&mut self, name: &str, shape: &[usize], values: &[f32]) {
        self.entry(name, shape, 0, self.data.len() as u64);
        self.data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        self.data.resize(self.data.len().next_multiple_of(32), 0);
    }

    /// A tensor's entry alone.
    pub fn entry(&mut self, name: &str, shape: &[usize], kind: u32, offset: u64) {
        let mut entry = text(name);
        entry.extend((shape.len() as u32).to_le_bytes());
        entry.extend(shape.iter().rev().flat_map(|&n| (n as u64).to_le_bytes()));
        entry.extend(kind.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.entries.push(entry);
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(if self.version == 0 { 3 } else { self.version }.to_le_bytes());
        bytes.extend(self.n_tensors.unwrap_or(self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.n_keys.unwrap_or(self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.entries.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }
}

fn text(value: &str) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value.as_bytes()].concat()
}

/// Seeded damage: changed, removed, repeated and exchanged bytes, mostly near the front, where headers are.
pub fn mutants(original: &[u8], count: u64) -> impl Iterator<Item = Vec<u8>> + '_ {
    (0..count).map(|seed| {
        let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
        let mut bytes = original.to_vec();
        for _ in 0..random.random_range(1..=4) {
            let near = if random.random_bool(0.7) { bytes.len().min(2048) } else { bytes.len() };
            let at = random.random_range(0..near.max(1)).min(bytes.len().saturating_sub(1));
            match random.random_range(0..6) {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = random.random(),
                1 => bytes[at] ^= 1 << random.random_range(0..8),
                2 => bytes[at] = *[0, 1, 0x7f, 0x80, 0xff, b'"', b'9', b'-'].get(random.random_range(0..8)).unwrap(),
                3 => bytes.truncate(at),
                4 => {
                    let end = (at + random.random_range(1..16)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let end = (at + random.random_range(1..16)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    bytes.splice(at..at, copy);
                }
            }
        }
        bytes
    })
}
