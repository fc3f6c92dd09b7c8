//! `.pth`, both forms. A zip archive is protected by checksums, which a fuzzer
//! does not find; so what is no archive and no older form is put into one, as
//! its `data.pkl`.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

/// The CRC-32 of zip, bit by bit: the inputs are short.
fn checksum(bytes: &[u8]) -> u32 {
    let step = |sum: u32| match sum & 1 {
        1 => (sum >> 1) ^ 0xedb8_8320,
        _ => sum >> 1,
    };
    !bytes.iter().fold(!0, |sum, &byte| {
        (0..8).fold(sum ^ u32::from(byte), |sum, _| step(sum))
    })
}

/// An archive of stored entries.
fn zipped(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in entries {
        let offset = (file.len() as u32).to_le_bytes();
        // Version, flags, method (stored), time, date.
        let mut fields = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        fields.extend(checksum(data).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((data.len() as u32).to_le_bytes());
        fields.extend((name.len() as u16).to_le_bytes());
        fields.extend([0, 0]);
        file.extend(b"PK\x03\x04");
        file.extend(&fields);
        file.extend(name.as_bytes());
        file.extend(*data);
        directory.extend(b"PK\x01\x02\x14\0");
        directory.extend(&fields);
        directory.extend([0; 10]);
        directory.extend(offset);
        directory.extend(name.as_bytes());
    }
    let count = (entries.len() as u16).to_le_bytes();
    let (start, size) = (file.len() as u32, directory.len() as u32);
    file.extend(directory);
    file.extend(b"PK\x05\x06\0\0\0\0");
    file.extend(count);
    file.extend(count);
    file.extend(size.to_le_bytes());
    file.extend(start.to_le_bytes());
    file.extend([0, 0]);
    file
}

fuzz_target!(|bytes: &[u8]| {
    let read = |bytes: &[u8]| wgrad::io::read_slice(bytes, Path::new("x.pth"));
    let whole = read(bytes).ok();
    let floats: Vec<u8> = (0..16u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let archive = zipped(&[("a/data.pkl", bytes), ("a/data/0", &floats)]);
    for file in whole.into_iter().chain(read(&archive).ok()) {
        for stored in &file.tensors {
            let _ = stored.to_tensor();
        }
    }
});
