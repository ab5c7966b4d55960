use proptest::prelude::*;

use super::*;

/// All events of a stream that arrives in the given chunks.
fn events<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<(String, String)>, EventTooLong> {
    let mut decoder = SseDecoder::default();
    let mut found = Vec::new();
    for chunk in chunks {
        decoder.push(chunk);
        while let Some(event) = decoder.next()? {
            found.push(event);
        }
    }
    found.extend(decoder.finish()?);
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    Ok(found.iter().map(|event| (text(&event.name), text(&event.data))).collect())
}

fn datas(stream: &str) -> Vec<String> {
    events([stream.as_bytes()]).unwrap().into_iter().map(|(_, data)| data).collect()
}

#[test]
fn all_line_ends_are_accepted_even_mixed() {
    for stream in [
        "data: a\n\ndata: b\n\n",
        "data: a\r\n\r\ndata: b\r\n\r\n",
        "data: a\r\rdata: b\r\r",
        "data: a\r\n\ndata: b\r\r\n",
    ] {
        assert_eq!(datas(stream), ["a", "b"], "{stream:?}");
    }
}

#[test]
fn byte_order_marks_comments_and_missing_spaces_are_accepted() {
    assert_eq!(
        datas("\u{feff}: OPENROUTER PROCESSING\n\ndata:a\n\n:\n\ndata:  b\n\nid: 7\nretry: 1\nfoo\n\n"),
        ["a", " b"]
    );
}

#[test]
fn data_lines_are_joined_and_names_belong_to_one_event() {
    let stream = "event: ping\ndata: {\ndata:  \"a\": 1\ndata\ndata: }\n\nevent: lost\n\ndata: x\n\n";
    let expected = vec![("ping".into(), "{\n \"a\": 1\n\n}".into()), (String::new(), "x".into())];
    assert_eq!(events([stream.as_bytes()]).unwrap(), expected);
}

#[test]
fn a_last_event_without_its_blank_line_is_kept() {
    assert_eq!(datas("data: a\n\ndata: [DONE]"), ["a", "[DONE]"]);
    assert_eq!(datas("data: a\r\n\r"), ["a"]);
    assert!(datas("").is_empty());
}

#[test]
fn a_line_over_the_limit_is_an_error_before_it_ends() {
    let chunk = vec![b'x'; 1 << 20];
    let mut decoder = SseDecoder::default();
    decoder.push(b"data: ");
    let fed = (0..9).take_while(|_| {
        decoder.push(&chunk);
        decoder.next().is_ok()
    });
    assert_eq!(fed.count(), 7);
}

#[test]
fn many_data_lines_over_the_limit_are_an_error() {
    let line = [b"data: ".as_slice(), &vec![b'x'; 1 << 20], b"\n"].concat();
    assert_eq!(events(std::iter::repeat_n(line.as_slice(), 9)), Err(EventTooLong));
}

proptest! {
    #[test]
    fn the_events_do_not_depend_on_where_the_bytes_are_split(
        lines in prop::collection::vec("(data|event|id|:|)(:| |é|x|\u{feff}){0,4}(\n|\r|\r\n){1,2}", 0..20),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = lines.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let pieces = cuts.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]);
        let whole = events([stream.as_bytes()]);
        prop_assert_eq!(events(pieces), whole.clone());
        prop_assert_eq!(events(stream.as_bytes().chunks(1)), whole);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = events(bytes.chunks(7));
    }
}
