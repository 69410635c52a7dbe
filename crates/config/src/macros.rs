//! The macro that declares parameters.

/// Declares a group of parameters: documentation, name, type, default text, optional range.
/// Makes a struct with one read-only accessor per parameter, `load`, and `DECLARED`.
#[macro_export]
macro_rules! params {
    ($(#[doc = $gdoc:literal])+ $group:ident {
        $($(#[doc = $doc:literal])+ $name:ident : $type:ty = $default:literal
            $(, min $min:literal)? $(, max $max:literal)?;)*
    }) => {
        $(#[doc = $gdoc])+
        #[derive(Clone, Debug)]
        pub struct $group { $($name: $type,)* }

        impl $group {
            /// What this group declares.
            pub const DECLARED: &'static [$crate::params::Declared] = &[$(
                $crate::params::Declared {
                    name: stringify!($name),
                    kind: <$type as $crate::value::Value>::TYPE,
                    default: $default,
                    doc: concat!($($doc, "\n"),+),
                },
            )*];

            /// Reads the whole group; every fault is reported, not just the first.
            pub fn load(config: &$crate::Config) -> Result<$group, Vec<$crate::Problem>> {
                let mut problems = Vec::new();
                $(
                    #[allow(unused_mut)]
                    let mut range: (Option<i64>, Option<i64>) = (None, None);
                    $(range.0 = Some($min);)?
                    $(range.1 = Some($max);)?
                    let $name = config.typed::<$type>(stringify!($name), range, &mut problems);
                )*
                match ($($name,)*) {
                    ($(Some($name),)*) if problems.is_empty() => Ok($group { $($name,)* }),
                    _ => Err(problems),
                }
            }

            $(
                $(#[doc = $doc])+
                pub fn $name(&self) -> &$type { &self.$name }
            )*
        }
    };
}
