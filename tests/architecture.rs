//! Checks the structure of `src/`: layers, cycles, type names and sizes.
//!
//! docs/architecture.md explains the layers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules of each layer, lowest first. A module may import from its own layer and those below.
const LAYERS: [&[&str]; 9] = [
    &[
        "clock",
        "duration",
        "error",
        "exit",
        "fail_point",
        "fnv",
        "model",
        "ready",
        "script",
        "signals",
        "ui",
    ],
    &["netlink", "ratelimit", "state", "systemd", "xenstore"],
    &["api", "cli"],
    &["config", "region"],
    &["coalesce"],
    &["session"],
    &["cloud", "doctor", "facts", "gateway", "hooks", "wait"],
    &["commands"],
    &["fuzz", "lib", "main"],
];

/// The most lines of a file, without its tests, and of a function.
const MAX_FILE_LINES: usize = 400;
const MAX_FUNCTION_LINES: usize = 60;

#[test]
fn the_source_keeps_its_rules() {
    let source = Source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(source.files.len() > 50, "the source was not found");
    let mut violations = source.upward_imports();
    violations.extend(source.imports_between_commands());
    violations.extend(source.cycles());
    violations.extend(source.duplicate_type_names());
    violations.extend(source.long_files());
    violations.extend(source.long_functions());
    assert!(violations.is_empty(), "violations of the structure: {violations:#?}");
}

/// The segments of a path, as written or from the root of the crate.
type Segments = Vec<String>;

/// One source file that is compiled into the program.
#[derive(Default)]
struct SourceFile {
    /// Its path in the repository, for messages.
    name: String,
    /// Its module; empty for `lib.rs` and `main.rs`.
    module: Segments,
    /// The modules it declares.
    children: BTreeSet<String>,
    /// The modules it declares only for tests.
    test_children: BTreeSet<String>,
    /// The imported paths, by the name they have in this file.
    imports: BTreeMap<String, Segments>,
    /// The re-exported paths, by name.
    exports: BTreeMap<String, Segments>,
    /// Paths in the code that may refer to another module.
    paths: BTreeSet<Segments>,
    /// The structs, enums and traits it defines.
    types: Vec<String>,
    /// Its functions, with their length in lines.
    functions: Vec<(String, usize)>,
    /// Lines without the test modules.
    lines: usize,
}

struct Source {
    files: Vec<SourceFile>,
    /// The file of each module.
    modules: BTreeMap<Segments, usize>,
    /// The imports, as pairs of files.
    edges: BTreeSet<(usize, usize)>,
}

impl Source {
    fn read(root: &Path) -> Source {
        let mut paths = Vec::new();
        find(root, &mut paths);
        paths.sort();
        let mut files: Vec<SourceFile> = paths.iter().map(|path| read_file(root, path)).collect();
        let tests: BTreeSet<Segments> = files
            .iter()
            .flat_map(|file| file.test_children.iter().map(|child| join(&file.module, child)))
            .collect();
        files.retain(|file| !tests.contains(&file.module));
        let modules = files
            .iter()
            .enumerate()
            .filter(|(_, file)| file.name != "src/main.rs")
            .map(|(index, file)| (file.module.clone(), index))
            .collect();
        let mut source = Source { files, modules, edges: BTreeSet::new() };
        for index in 0..source.files.len() {
            let targets = source.targets(index);
            source.edges.extend(targets.into_iter().map(|target| (index, target)));
        }
        source.edges.retain(|(from, to)| from != to);
        source
    }

    /// The files that a file imports from.
    fn targets(&self, index: usize) -> BTreeSet<usize> {
        let file = &self.files[index];
        let used = file.paths.iter().filter_map(|path| self.resolve(file, path));
        let imported = file.imports.values().filter_map(|path| {
            let target = self.resolve(file, path)?;
            // If a module is imported as a prefix, only the uses of the prefix count.
            let is_module = self.modules.contains_key(&self.absolute(file, path)?);
            (!is_module || !self.files[target].name.ends_with("/mod.rs")).then_some(target)
        });
        // Re-exporting a child does not count as using it.
        let exported = file
            .exports
            .values()
            .filter_map(|path| self.resolve(file, path))
            .filter(|target| top(&self.files[*target]) != top(file) && !file.module.is_empty());
        used.chain(imported).chain(exported).collect()
    }

    /// The path from the root of the crate.
    fn absolute(&self, file: &SourceFile, path: &[String]) -> Option<Segments> {
        let (first, rest) = path.split_first()?;
        let mut base = match first.as_str() {
            "crate" | "rackconnect_agent" => Vec::new(),
            "self" => file.module.clone(),
            "super" => file.module[..file.module.len().checked_sub(1)?].to_vec(),
            child if file.children.contains(child) => join(&file.module, child),
            name => {
                let import = file.imports.get(name)?;
                if import.first() == Some(first) {
                    return None;
                }
                self.absolute(file, import)?
            }
        };
        for segment in rest {
            if segment == "super" {
                base.pop()?;
            } else {
                base.push(segment.clone());
            }
        }
        Some(base)
    }

    /// The file that defines the item of a path. Follows re-exports.
    fn resolve(&self, file: &SourceFile, path: &[String]) -> Option<usize> {
        self.define(&self.absolute(file, path)?, 0)
    }

    fn define(&self, absolute: &[String], depth: usize) -> Option<usize> {
        let length = (0..=absolute.len())
            .rev()
            .find(|length| self.modules.contains_key(&absolute[..*length]))?;
        let index = self.modules[&absolute[..length]];
        let file = &self.files[index];
        let Some(item) = absolute.get(length) else { return Some(index) };
        match file.exports.get(item) {
            Some(export) if depth < 8 => {
                let target = self.absolute(file, export)?;
                self.define(&target, depth + 1)
            }
            _ => Some(index),
        }
    }

    fn upward_imports(&self) -> BTreeSet<String> {
        let breaks =
            |(from, to): &&(usize, usize)| layer(&self.files[*from]) < layer(&self.files[*to]);
        self.edges.iter().filter(breaks).map(|edge| self.describe("upward import", *edge)).collect()
    }

    /// `commands/mod.rs` and `commands/gateway/mod.rs` are exempt: they select the command.
    fn imports_between_commands(&self) -> BTreeSet<String> {
        let is_command = |index: usize| {
            let file = &self.files[index];
            top(file) == "commands" && !file.name.ends_with("/mod.rs")
        };
        self.edges
            .iter()
            .filter(|(from, to)| is_command(*from) && is_command(*to))
            .map(|edge| self.describe("import between commands", *edge))
            .collect()
    }

    fn describe(&self, violation: &str, (from, to): (usize, usize)) -> String {
        format!("{violation}: {} -> {}", self.files[from].name, self.files[to].name)
    }

    /// The imports that are part of a cycle: their target also reaches their origin.
    fn cycles(&self) -> BTreeSet<String> {
        self.edges
            .iter()
            .filter(|(from, to)| self.reaches(*to, *from))
            .map(|edge| self.describe("in a cycle", *edge))
            .collect()
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(index) = open.pop() {
            if index == to {
                return true;
            }
            if seen.insert(index) {
                let next = self.edges.range((index, 0)..=(index, usize::MAX));
                open.extend(next.map(|(_, target)| *target));
            }
        }
        false
    }

    fn duplicate_type_names(&self) -> BTreeSet<String> {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for file in &self.files {
            for name in &file.types {
                all.entry(name).or_default().push(&file.name);
            }
        }
        all.into_iter()
            .filter(|(_, files)| files.len() > 1)
            .map(|(name, files)| format!("duplicate type name: {name} in {}", files.join(", ")))
            .collect()
    }

    fn long_files(&self) -> BTreeSet<String> {
        let long = self.files.iter().filter(|file| file.lines >= MAX_FILE_LINES);
        long.map(|file| format!("long file: {}", file.name)).collect()
    }

    fn long_functions(&self) -> BTreeSet<String> {
        self.files
            .iter()
            .flat_map(|file| file.functions.iter().map(move |function| (file, function)))
            .filter(|(_, (_, lines))| *lines > MAX_FUNCTION_LINES)
            .map(|(file, (name, _))| format!("long function: {name} in {}", file.name))
            .collect()
    }
}

/// The top-level module that a file belongs to.
fn top(file: &SourceFile) -> &str {
    match file.module.first() {
        Some(module) => module,
        None if file.name.ends_with("main.rs") => "main",
        None => "lib",
    }
}

fn layer(file: &SourceFile) -> usize {
    LAYERS
        .iter()
        .position(|modules| modules.contains(&top(file)))
        .unwrap_or_else(|| panic!("{} has no layer in tests/architecture.rs", file.name))
}

fn join(module: &[String], child: &str) -> Segments {
    [module, &[child.to_owned()]].concat()
}

fn find(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a source directory") {
        let path = entry.expect("a directory entry").path();
        if path.is_dir() {
            find(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

fn read_file(root: &Path, path: &Path) -> SourceFile {
    let text = fs::read_to_string(path).expect("a source file");
    let relative = path.strip_prefix(root).expect("a path in src");
    let mut module: Segments = relative
        .with_extension("")
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .collect();
    if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
        module.pop();
    }
    let tokens: TokenStream =
        text.parse().unwrap_or_else(|err| panic!("{}: {err}", path.display()));
    let mut file = SourceFile {
        name: format!("src/{}", relative.display()),
        module,
        lines: text.lines().count(),
        ..SourceFile::default()
    };
    file.visit(tokens);
    file
}

impl SourceFile {
    /// Collects the definitions and references in the tokens, which do not include comments.
    fn visit(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at += match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' && is_test(&tokens[at..]) => {
                    self.skip_item(&tokens[at..])
                }
                TokenTree::Group(group) => {
                    self.visit(group.stream());
                    1
                }
                TokenTree::Ident(ident) => self.word(&ident.to_string(), &tokens, at),
                _ => 1,
            };
        }
    }

    /// Handles the item or path that starts with this word. Returns the number of tokens handled.
    fn word(&mut self, word: &str, tokens: &[TokenTree], at: usize) -> usize {
        let name = tokens.get(at + 1).filter(|token| matches!(token, TokenTree::Ident(_)));
        let name = name.map(ToString::to_string);
        match (word, name) {
            ("use", _) => return self.import(tokens, at),
            ("mod", Some(name)) => {
                self.children.insert(name);
                return 2;
            }
            ("struct" | "enum" | "trait", Some(name)) => {
                self.types.push(name);
                return 2;
            }
            ("fn", Some(name)) => {
                let rest = &tokens[at..];
                let end = rest.iter().position(|token| is_punct(token, ';') || is_block(token));
                if let Some(TokenTree::Group(body)) = end.map(|end| &rest[end]) {
                    let first = tokens[at].span().start().line;
                    self.functions.push((name, body.span_close().end().line - first + 1));
                }
                return 2;
            }
            _ => {}
        }
        let mut path = vec![word.to_owned()];
        let mut next = at + 1;
        while let [TokenTree::Punct(first), TokenTree::Punct(second), TokenTree::Ident(segment)] =
            tokens.get(next..next + 3).unwrap_or_default()
            && first.as_char() == ':'
            && second.as_char() == ':'
        {
            path.push(segment.to_string());
            next += 3;
        }
        if path.len() > 1 {
            self.paths.insert(path);
        }
        next - at
    }

    /// Reads the `use` item whose keyword is at `at`.
    fn import(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        let rest = &tokens[at + 1..];
        let end = rest.iter().position(|token| is_punct(token, ';')).unwrap_or(rest.len());
        let is_export = tokens[..at].iter().rev().take(2).any(|token| token.to_string() == "pub");
        let mut found = Vec::new();
        use_tree(&rest[..end], &mut Vec::new(), &mut found);
        let into = if is_export { &mut self.exports } else { &mut self.imports };
        into.extend(found);
        end + 2
    }

    /// Skips an item that is compiled only for tests.
    fn skip_item(&mut self, tokens: &[TokenTree]) -> usize {
        let mut at = 2;
        while at < tokens.len() && !is_punct(&tokens[at], ';') && !is_block(&tokens[at]) {
            if tokens[at].to_string() == "mod" {
                self.test_children.insert(tokens[at + 1].to_string());
            }
            at += 1;
        }
        if let Some(last) = tokens.get(at) {
            let first = tokens[0].span().start().line;
            self.lines -= last.span().end().line - first + 1;
        }
        at + 1
    }
}

/// Whether the tokens start with `#[cfg(test)]` or similar.
fn is_test(tokens: &[TokenTree]) -> bool {
    let Some(TokenTree::Group(group)) = tokens.get(1) else { return false };
    let words: Vec<String> =
        group.to_string().split(|c: char| !c.is_ascii_alphanumeric()).map(str::to_owned).collect();
    let has = |word: &str| words.iter().any(|found| found == word);
    has("cfg") && has("test") && !has("not")
}

fn is_punct(token: &TokenTree, punct: char) -> bool {
    matches!(token, TokenTree::Punct(found) if found.as_char() == punct)
}

fn is_block(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace)
}

/// Collects the names that a `use` tree imports, each with its path.
fn use_tree(tokens: &[TokenTree], prefix: &mut Segments, found: &mut Vec<(String, Segments)>) {
    let depth = prefix.len();
    let mut alias = None;
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(ident) if ident == "as" => {
                alias = tokens.get(at + 1).map(ToString::to_string);
                break;
            }
            TokenTree::Ident(ident) => prefix.push(ident.to_string()),
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is_punct(token, ',')) {
                    use_tree(part, prefix, found);
                }
                prefix.truncate(depth);
                return;
            }
            _ => {}
        }
    }
    if prefix.len() > depth && prefix.len() > 1 && prefix.last().is_some_and(|s| s == "self") {
        prefix.pop();
    }
    if let Some(last) = prefix.last() {
        found.push((alias.unwrap_or_else(|| last.clone()), prefix.clone()));
    }
    prefix.truncate(depth);
}
