use super::*;

fn request(select: u64) -> KeyReq {
    KeyReq {
        root_key_select: 2.into(),
        reserved: [0; 4],
        guest_field_select: select.into(),
        vmpl: 1.into(),
        guest_svn: 2.into(),
        tcb_version: [3, 0, 0, 0, 0, 0, 4, 5],
    }
}

fn guest() -> SnpDescription {
    SnpDescription {
        measurement: [0x11; 48],
        host_data: [0x22; 32],
        id_key_digest: [0x33; 48],
        author_key_digest: [0; 48],
        family_id: [0x44; 16],
        image_id: [0x55; 16],
        guest_svn: 6,
        policy: 0x2_0077,
        vmpl: 0,
    }
}

fn chip() -> Chip {
    let tcb = Hex(INITIAL_TCB);
    let mut chip_id = Hex([7; 64]);
    *chip_id.0.last_chunk_mut().unwrap() = SIMULATED_MARKER;
    let state = ChipState {
        chip_secret: Hex([8; 48]),
        chip_id,
        current_tcb: tcb,
        committed_tcb: tcb,
        reported_tcb: tcb,
    };
    let folder = tempfile::tempdir().unwrap();
    let vcek = Vcek::of(folder.path(), state.chip_id(), state.reported_tcb()).unwrap();
    Chip { state, vcek, vmrk: Secret::new([9; 32]), report_id: [10; 32] }
}

/// The layout of AMD's published firmware (`snp_mix_data`), written by hand.
#[test]
fn what_is_mixed_into_a_key() {
    let all = [
        "02000000",
        "00000000",
        "3f00000000000000",
        "01000000",
        "02000000",
        "0300000000000405",
        "7700020000000000",
        &"55".repeat(16),
        &"44".repeat(16),
        &"11".repeat(32),
        &"22".repeat(32),
        &"33".repeat(32),
    ];
    assert_eq!(hex::encode(mix(&guest(), &request(ALL_FIELDS))), all.concat());
    // Host data and signer enter whatever is selected, and so does the selection.
    let always = [
        "02000000",
        "00000000",
        &"00".repeat(8),
        "01000000",
        &"00".repeat(84),
        &"22".repeat(32),
        &"33".repeat(32),
    ];
    assert_eq!(hex::encode(mix(&guest(), &request(0))), always.concat());
    for (author, id, kind) in [([1; 48], [2; 48], 4), ([0; 48], [2; 48], 2), ([0; 48], [0; 48], 0)] {
        let guest = SnpDescription { author_key_digest: author, id_key_digest: id, ..guest() };
        assert_eq!(mix(&guest, &request(0))[0], kind);
    }
}

/// The firmware's refusals, in its own words.
#[test]
fn what_is_not_given() {
    let all = request(ALL_FIELDS);
    let status = |request: &KeyReq| chip().derived_key(&guest(), request).err().unwrap_or(0);
    assert_eq!(status(&all), 0);
    for (request, wanted) in [
        (KeyReq { root_key_select: 0.into(), ..all }, 0),
        (KeyReq { root_key_select: 1.into(), ..all }, 0),
        (KeyReq { root_key_select: 4.into(), ..all }, status::INVALID_KEY),
        (KeyReq { root_key_select: 6.into(), ..all }, status::INVALID_KEY),
        (KeyReq { root_key_select: 8.into(), ..all }, status::INVALID_PARAM),
        (KeyReq { reserved: [1, 0, 0, 0], ..all }, status::INVALID_PARAM),
        (KeyReq { guest_field_select: (1 << 6).into(), ..all }, status::INVALID_PARAM),
        (KeyReq { guest_svn: 7.into(), ..all }, status::INVALID_PARAM),
        (KeyReq { guest_svn: 7.into(), ..request(field::MEASUREMENT) }, 0),
        (KeyReq { tcb_version: [9, 0, 0, 0, 0, 0, 23, 73], ..all }, status::INVALID_PARAM),
        (KeyReq { tcb_version: [9, 0, 1, 0, 0, 0, 23, 72], ..all }, status::INVALID_PARAM),
        (KeyReq { tcb_version: [0xFF; 8], ..request(field::MEASUREMENT) }, 0),
    ] {
        assert_eq!(status(&request), wanted, "{:02x?}", request.as_bytes());
    }
    let inner = SnpDescription { vmpl: 2, ..guest() };
    assert_eq!(chip().derived_key(&inner, &all).err(), Some(status::INVALID_PARAM));
}

/// The key of a guest that does not name a TCB moves with what the host lets the machine report; the other stays.
#[test]
fn a_named_tcb_pins_the_key() {
    let key = |chip: &Chip, select| *chip.derived_key(&guest(), &request(select)).unwrap().expose();
    let (here, mut older) = (chip(), chip());
    older.state.report_older();
    assert_ne!(key(&here, field::MEASUREMENT), key(&older, field::MEASUREMENT));
    assert_eq!(key(&here, ALL_FIELDS), key(&older, ALL_FIELDS));
}

/// R12: frozen, and computed by a second implementation.
#[test]
fn the_keys_equal_their_vectors() {
    let key = |root: u32, select| {
        let request = KeyReq { root_key_select: root.into(), ..request(select) };
        hex::encode(chip().derived_key(&guest(), &request).unwrap().expose())
    };
    assert_eq!(key(2, 0x29), "af436b045babb89fe101883f0ea1e33594a7963a5b0f4631b1ee0c2835fafdf8");
    assert_eq!(key(0, 0x35), "deb0e1c95a54922191c28408f71b158920b281b12447d075a41d3fa4d056ebed");
    assert_eq!(key(2, 0x08), "45c9cca06512d348db1d1fb6f25b6fd7a8e157671ee9dcb0bf7e4cf063882fc7");
    assert_eq!(key(1, 0x3F), "9d6bc5be0dee2c1f169df593024599f686145d6ca986ec1c2671138e13e7cab6");
}
