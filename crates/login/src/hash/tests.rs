//! Hashes that other programs made, and ones that nobody should have.

use super::*;
use proptest::prelude::*;

/// Made by `doveadm pw`, crypt(3) and `openssl passwd` of Debian 12 from the password `secret`.
const OF_SECRET: [&str; 16] = [
    "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$MZTQJ6vHmEOiNFyEmsKN7Q$KPCBz6r1lgEXq9iVg8sZOCE+JKR3ivRfS7smL2OJs98",
    "{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$/9xZ9imyQ6ir0O2Op38NNg$zrOjxC5nenT7WV4LIaQ9ut2iaROipgym4mB0RrqdWJ8",
    "{BLF-CRYPT}$2y$05$TgBYkZcGpqZr0PBzRRLubeD/E66azptCt0Zm5BSWKGvdyliHwyyVm",
    "{CRYPT}$2y$05$22ZQglOI6FFJ0KfdHG3Hi.mjuIhKccX9.CTjmv64ykVr0SfjCXjE2",
    "{SHA256-CRYPT}$5$l0INjfFjvhjRaP9e$rQ/Ig82bPzXH5UIygoBmnGFKvPZWxExSG/ZNIN0s3h1",
    "{sha512-crypt}$6$paDUWFCPY7AmU2cq$oRS3oRV7452lE/ZHCCQOMmXj4VGUT98XaTmGvRv/93vYd/puEyvaw0bdJ3CVkQ2bjDjpS/aaCeIcyTFc5kmRV.",
    "$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.",
    "$5$rounds=1000$ab$bw4PhTdETPYycBP1S/MfHGVqzf4cldTXkxqJJ2X8w.3",
    "$y$j9T$abcdefghij12$KIJQiOWlY26rUA4zYrfs73QYGoHAyIj2aDK6s9oXdk8",
    "$y$j75$abcdefghij12$.Jsl0JJA1HYUnqoCjSHd8xuCU2YT54LlxdgfLyWTEC4",
    "{SSHA}SlqI02VByGGdUzgsiGKVtQlfMsDDDSZb",
    "{SSHA256}Oozy6fm0sw6qr5PHlfCJlpERMQZVsqGHCnOoDFQs88Aljx6+",
    "{SSHA512}v5QEBlba8o9Pu/A+R/PYDwRBCnHdC49RQXlMf/WKUBrJO4ek+73XH8NAV0JzxlG951z8L1CoJA5yu1J8ZgpJaouwuBs=",
    "{SCRAM-SHA-1}4096,o2KYaWB5YpUd/FZrxGKUJQ==,v/koxZloGj7lH6ZiKBdRR/vteYQ=,/lhBUlyVngTM0y/Kfr/cl1uKdi0=",
    "{SCRAM-SHA-256}4096,iECfyApsm9lObbTigUNMVA==,NI9jNdAlZIaGnxyIQVifyQPfeWEUAbRXxcT7NSOu2yw=,DdqniuHEbIkN3UHauvmpvjwdnNOFJefYMRma8yXaMLs=",
    "{PLAIN}secret",
];

#[test]
fn what_others_made_is_understood() {
    for text in OF_SECRET {
        let hash = Hash::read(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert!(hash.fits(&"secret".into()), "{text}");
        for wrong in ["Secret", "secre", "secret ", ""] {
            assert!(!hash.fits(&wrong.into()), "{text}: {wrong:?}");
        }
        assert!(!format!("{hash:?}").contains(&text[text.len() - 8..]), "{hash:?} shows the hash");
    }
    // A password beyond ASCII, as bytes.
    let text = "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$vEzI7/ALyPhdCvupe/iEgw$SYW/PhNALyNgtCLiPmBwHr/02zZOguWeTXlsHnhslrs";
    assert!(Hash::read(text).unwrap().fits(&"päss wörd".into()));
}

#[test]
fn what_is_made_here_is_read_here() {
    let made = Hash::make(&"päss".into()).unwrap();
    let text = made.text().unwrap();
    assert!(text.starts_with("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
    assert!(Hash::read(&text).unwrap().fits(&"päss".into()));
    let iterations = std::num::NonZeroU32::new(4096).unwrap();
    for (which, name) in [(scram::Hash::Sha1, "SCRAM-SHA-1"), (scram::Hash::Sha256, "SCRAM-SHA-256")] {
        let keys = Hash::scram(which, Stored::new(which, &"päss".into(), b"12345678", iterations));
        let text = keys.text().unwrap();
        assert!(text.starts_with(&format!("{{{name}}}4096,")), "{text}");
        let again = Hash::read(&text).unwrap();
        assert_eq!(again.scram_keys(which), keys.scram_keys(which));
        assert!(again.fits(&"päss".into()) && !again.fits(&"pass".into()));
    }
}

#[test]
fn bad_ones_are_refused_with_a_remedy() {
    for (text, why) in [
        ("", "begins neither"),
        ("secret", "begins neither"),
        ("abJnggxhB/yWI", "begins neither"),
        ("$1$ab$cdefghijklmnopqrstuv12", "MD5"),
        ("$7$x$y", "not known here"),
        ("{MD5}abc", "{MD5} is not known here"),
        ("{PLAIN}", "empty password"),
        (
            "{BLF-CRYPT}$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.",
            "is called BLF-CRYPT but is SHA512-CRYPT",
        ),
        ("$6$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw", "not complete"),
        (
            "$6$rounds=99000000$0123456789abcdef$8CGkKDSyVpVlVNcs5PssRw/Tb8EgfecuA6D/zsRQFumJaU.s8KgTWWc2HfgkB7h2n1qIKiJFeSyUFrwvhILXy.",
            "costs too much",
        ),
        ("$2y$31$TgBYkZcGpqZr0PBzRRLubeD/E66azptCt0Zm5BSWKGvdyliHwyyVm", "costs too much"),
        ("$2y$5$TgBYkZcGpqZr0PBzRRLubeD/E66azptCt0Zm5BSWKGvdyliHwyyVm", "not complete"),
        (
            "$argon2id$v=19$m=4294967295,t=3,p=1$MZTQJ6vHmEOiNFyEmsKN7Q$KPCBz6r1lgEXq9iVg8sZOCE+JKR3ivRfS7smL2OJs98",
            "costs too much",
        ),
        (
            "$argon2id$v=19$m=65536,t=3$MZTQJ6vHmEOiNFyEmsKN7Q$KPCBz6r1lgEXq9iVg8sZOCE+JKR3ivRfS7smL2OJs98",
            "no complete hash",
        ),
        (
            "$argon2d$v=19$m=65536,t=3,p=1$MZTQJ6vHmEOiNFyEmsKN7Q$KPCBz6r1lgEXq9iVg8sZOCE+JKR3ivRfS7smL2OJs98",
            "not known here",
        ),
        ("$y$jzT$abcdefghij12$KIJQiOWlY26rUA4zYrfs73QYGoHAyIj2aDK6s9oXdk8", "not complete"),
        ("$y$jTT$abcdefghij12$KIJQiOWlY26rUA4zYrfs73QYGoHAyIj2aDK6s9oXdk8", "costs too much"),
        ("$y$j9T5$abcdefghij12$KIJQiOWlY26rUA4zYrfs73QYGoHAyIj2aDK6s9oXdk8", "settings"),
        ("{SCRAM-SHA-256}1,AAAA,AAAA,AAAA", "iterations"),
        ("{SCRAM-SHA-256}4096,AAAA,AAAA,AAAA", "not complete"),
        ("{SSHA}AAAA", "not complete"),
    ] {
        let said = Hash::read(text).map(|_| ()).unwrap_err().0;
        assert!(said.contains(why), "{text}: {said}");
        assert!(!said.contains("8CGkKDSyVpVlVNcs5PssRw"), "{said} shows the hash");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,80}", tail in "[$./0-9A-Za-z=,]{0,70}") {
        let _ = Hash::read(&text);
        for head in ["$y$j", "$2y$", "$6$", "$5$rounds=", "$argon2id$v=19$m=", "{SCRAM-SHA-1}4096,", "{SSHA}"] {
            let _ = Hash::read(&format!("{head}{tail}"));
        }
    }

    /// What is read can be asked, whatever was bent: small hashes only, for the time's sake.
    #[test]
    fn bent_hashes_let_nobody_in(at in 0usize..150, letter in "[$./0-9A-Za-z=,]", which in 0usize..4) {
        let text = [OF_SECRET[2], OF_SECRET[7], OF_SECRET[9], OF_SECRET[10]][which];
        let mut bent = text.to_string();
        let at = at % bent.len();
        bent.replace_range(at..at + 1, &letter);
        if let Ok(hash) = Hash::read(&bent) && !bent.contains("$2y$1") && !bent.contains("rounds=9") {
            let fits = hash.fits(&"secret".into());
            prop_assert!(!fits || bent.eq_ignore_ascii_case(text) || Hash::read(text).unwrap().scheme() == hash.scheme());
        }
    }
}
