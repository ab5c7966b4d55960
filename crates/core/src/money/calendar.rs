//! The date that budgets by day and by month go by.

use std::{
    fmt,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::money::budget::Window;

/// Tells the date. Tests set their own.
pub trait Calendar: fmt::Debug + Send + Sync + 'static {
    /// Days since 1970-01-01, in UTC.
    fn today(&self) -> u64;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemCalendar;

impl Calendar for SystemCalendar {
    fn today(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() / 86_400)
    }
}

/// The number of the window that holds `day`; later windows have larger numbers.
pub(crate) fn window_number(window: Window, day: u64) -> u64 {
    match window {
        Window::Total => 0,
        Window::Day => day,
        Window::Month => months_since_year_zero(day),
    }
}

/// After Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`: years begin in March, so that
/// the leap day is the last of its year and months follow a straight line.
fn months_since_year_zero(day: u64) -> u64 {
    const DAYS_PER_ERA: u64 = 146_097;
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let months_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + months_from_march + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_on_their_first_day() {
        let month = |day| window_number(Window::Month, day);
        assert_eq!(month(0), 1970 * 12);
        // 2024-02-29 is day 19782, 2024-03-01 the next; 2026-01-01 is day 20454.
        assert_eq!(month(19_782), 2024 * 12 + 1);
        assert_eq!(month(19_783), 2024 * 12 + 2);
        assert_eq!(month(20_453), 2025 * 12 + 11);
        assert_eq!(month(20_454), 2026 * 12);
    }

    #[test]
    fn four_centuries_have_4800_months_in_order() {
        let months: Vec<_> = (0..146_097).map(|day| window_number(Window::Month, day)).collect();
        assert!(months.is_sorted());
        assert_eq!(months.last().unwrap() - months.first().unwrap(), 4_799);
        assert!(months.windows(2).all(|pair| pair[1] - pair[0] <= 1));
    }
}
