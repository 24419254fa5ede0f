//! The Dockerfile's invariants, read from its text: nothing here can run a build.

use crate::read;

/// Its instructions, one a line, without comments.
fn instructions() -> Vec<String> {
    let text = read("Dockerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn the_image_runs_as_a_numeric_user_that_is_not_root() {
    let all = instructions();
    let last_stage = all.iter().rposition(|line| line.starts_with("FROM ")).expect("a last stage");
    let users: Vec<_> = all[last_stage..].iter().filter_map(|line| line.strip_prefix("USER ")).collect();
    assert_eq!(users, ["65532:65532"]);
    let after_user = all.iter().skip_while(|line| !line.starts_with("USER ")).skip(1);
    assert!(after_user.clone().all(|line| line.starts_with("EXPOSE ") || line.starts_with("ENTRYPOINT ")));
}

#[test]
fn the_images_bases_are_build_arguments_without_a_registry() {
    let all = instructions();
    let bases: Vec<_> = all.iter().filter_map(|line| line.strip_prefix("FROM ")).collect();
    assert_eq!(bases, ["${RUST_IMAGE} AS build", "${RUNTIME_IMAGE}"]);
    for name in ["RUST_IMAGE", "RUNTIME_IMAGE"] {
        let prefix = format!("ARG {name}=");
        let default = all.iter().find_map(|line| line.strip_prefix(&prefix)).expect("a default base");
        assert!(!default.contains('/') && default.contains(':'), "{default}");
    }
}

#[test]
fn the_image_holds_the_locked_build_and_the_licence() {
    let all = instructions();
    assert!(all.iter().any(|line| line.contains("cargo build --locked --release")));
    assert!(all.iter().any(|line| line.starts_with("COPY LICENSE ")));
    assert_eq!(all.last().map(String::as_str), Some("ENTRYPOINT [\"/usr/local/bin/kafka-once\"]"));
    let ignored = read(".dockerignore");
    for needed in ["Cargo.toml", "Cargo.lock", "src", "LICENSE"] {
        assert!(!ignored.lines().any(|line| line == needed), "{needed} is needed to build");
    }
    for heavy in [".cache", ".git", "target"] {
        assert!(ignored.lines().any(|line| line == heavy), "{heavy} is sent to the builder");
    }
}

#[test]
fn the_licence_is_apache_2() {
    let licence = read("LICENSE");
    assert!(licence.contains("Apache License") && licence.contains("END OF TERMS AND CONDITIONS"));
    assert!(read("Cargo.toml").contains("license = \"Apache-2.0\""));
}
