//! The macro that declares parameters.

/// Declares a group of parameters: documentation, name, type, default text, optional range.
/// Makes a struct with one read-only accessor per parameter, `load`, and `DECLARED`.
#[macro_export]
macro_rules! params {
    ($(#[doc = $gdoc:literal])+ $group:ident {
        $($(#[doc = $doc:literal])+ $name:ident $(as $public:literal)? : $type:ty = $default:literal
            $(, min $min:literal)? $(, max $max:literal)?;)*
    }) => {
        $(#[doc = $gdoc])+
        #[derive(Clone, Debug)]
        pub struct $group { $($name: $type,)* }

        impl $group {
            /// What this group declares.
            pub const DECLARED: &'static [$crate::params::Declared] = &[$(
                $crate::params::Declared {
                    name: $crate::parameter_name!($name $($public)?),
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
                    let $name = config.typed::<$type>($crate::parameter_name!($name $($public)?), range, &mut problems);
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

/// The public name of a parameter: that of its accessor, or, behind `as`, the one that is no Rust
/// name because it begins with a digit.
#[doc(hidden)]
#[macro_export]
macro_rules! parameter_name {
    ($name:ident) => {
        stringify!($name)
    };
    ($name:ident $public:literal) => {
        $public
    };
}
