//! Folding at word boundaries, as notices and transcripts do it.

const INDENT: &str = "    ";

/// Breaks `text` at white space so that no line is longer than `width` columns where words allow it;
/// lines after the first begin with four spaces. White space elsewhere is kept.
pub fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    // Output of commands ends with the space that their last line end became.
    let mut rest = text.trim_end_matches(is_space);
    let mut indent = "";
    loop {
        let room = width.saturating_sub(indent.len());
        if columns(rest) <= room {
            lines.push(format!("{indent}{rest}"));
            return lines;
        }
        // The last space within reach; else the first one after it.
        let mut at = None;
        for (column, (i, c)) in rest.char_indices().enumerate() {
            if is_space(c) && i > 0 {
                if column <= room || at.is_none() {
                    at = Some(i);
                }
                if column > room {
                    break;
                }
            } else if column > room && at.is_some() {
                break;
            }
        }
        let Some(at) = at else {
            lines.push(format!("{indent}{rest}"));
            return lines;
        };
        let (head, tail) = rest.split_at(at);
        lines.push(format!("{indent}{}", head.trim_end_matches(is_space)));
        rest = tail.trim_start_matches(is_space);
        indent = INDENT;
        if rest.is_empty() {
            return lines;
        }
    }
}

fn columns(text: &str) -> usize {
    text.chars().count()
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    const WIDTH: usize = 79;

    fn fold(text: &str) -> Vec<String> {
        super::fold(text, WIDTH)
    }

    #[test]
    fn as_postfix_folds() {
        let rest = "bb ".repeat(70);
        let rest = rest.trim_end();
        let lengths = |text: String| fold(&text).iter().map(String::len).collect::<Vec<_>>();
        assert_eq!(lengths(format!("<wa@w1.example>: {rest}"))[..2], [79, 78]);
        assert_eq!(lengths(format!("<waa@w2.example>: {rest}"))[0], 77);
        assert_eq!(lengths(format!("<waaa@w3.example>: {rest}"))[0], 78);
        assert_eq!(lengths(format!("Diagnostic-Code: X-Postfix; {rest}"))[..2], [78, 78]);
        let long = "a".repeat(120);
        assert_eq!(
            fold(&format!("<x@longw.example>: {long} bb")),
            ["<x@longw.example>:".to_string(), format!("    {long}"), "    bb".into()]
        );
        assert_eq!(
            fold(
                "<usuario@josedomingo.org> (expanded from <usuario>): delivery via local: delivered to mailbox"
            ),
            [
                "<usuario@josedomingo.org> (expanded from <usuario>): delivery via local:",
                "    delivered to mailbox"
            ]
        );
        assert_eq!(fold("short"), ["short"]);
        assert_eq!(fold(""), [""]);
    }

    proptest! {
        #[test]
        fn no_word_is_lost_and_no_line_too_long_without_need(text in "[a-zé]{1,12}( {1,3}[a-z]{1,90}){0,20}") {
            let lines = fold(&text);
            let words: Vec<&str> = text.split_whitespace().collect();
            let back = lines.join(" ");
            prop_assert_eq!(back.split_whitespace().collect::<Vec<_>>(), words);
            for line in &lines {
                prop_assert!(super::columns(line) <= WIDTH || line.split_whitespace().count() == 1, "{}", line);
            }
        }
    }
}
