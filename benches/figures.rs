//! Medians, spreads and percentiles.

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }
}

impl Sample {
    /// The middle one, or the mean of the two in the middle; `None` without measurements.
    pub fn median(&self) -> Option<f64> {
        let middle = self.0.len() / 2;
        let upper = *self.0.get(middle)?;
        if self.0.len().is_multiple_of(2) { Some(f64::midpoint(self.0[middle - 1], upper)) } else { Some(upper) }
    }

    /// The smallest and the largest.
    pub fn spread(&self) -> Option<(f64, f64)> {
        Some((*self.0.first()?, *self.0.last()?))
    }

    /// `median (min-max)` with so many decimals, or a dash.
    pub fn show(&self, decimals: usize) -> String {
        match (self.median(), self.spread()) {
            (Some(median), Some((min, max))) => format!("{median:.decimals$} ({min:.decimals$}-{max:.decimals$})"),
            _ => "-".to_owned(),
        }
    }

    /// The median with so many decimals, or a dash.
    pub fn show_median(&self, decimals: usize) -> String {
        self.median().map_or_else(|| "-".to_owned(), |median| format!("{median:.decimals$}"))
    }
}

/// The value that `100 - percent` percent of the sorted values exceed; 0 without values.
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}
