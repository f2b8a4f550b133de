//! Plots in a common style, as SVG: lines, and bars of ratios.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

/// Colours that readers with any kind of colour vision can distinguish (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];

const FONT: &str = "sans-serif";

const WIDTH: u32 = 860;

/// A line of a plot.
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

/// The scale of both axes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// From 0 on.
    Linear,
    /// Powers of ten.
    Logarithmic,
}

/// One plot of a picture.
pub struct Plot {
    /// Its title.
    pub title: String,
    /// The label of the horizontal axis.
    pub x: String,
    /// The label of the vertical axis.
    pub y: String,
    /// The scale of both axes.
    pub scale: Scale,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// Ratios as bars, in groups.
pub struct Bars {
    /// The title.
    pub title: String,
    /// For each group, its name and its bars: their names and lengths.
    pub groups: Vec<(String, Vec<(String, f64)>)>,
}

/// A part of a picture.
pub enum Picture {
    /// Lines.
    Plot(Plot),
    /// Bars.
    Bars(Bars),
}

impl Picture {
    fn height(&self) -> u32 {
        match self {
            Picture::Plot(_) => 330,
            Picture::Bars(bars) => 90 + 18 * bars.rows() as u32,
        }
    }
}

impl Bars {
    /// A row for each group's name, and one for each bar.
    fn rows(&self) -> usize {
        self.groups.iter().map(|(_, bars)| 1 + bars.len()).sum()
    }
}

/// Draws pictures one above the other.
///
/// # Errors
/// The file cannot be written.
pub fn draw(path: &Path, pictures: &[Picture]) -> Result<(), Box<dyn Error>> {
    let height = pictures.iter().map(Picture::height).sum();
    let mut rest = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    rest.fill(&WHITE)?;
    for picture in pictures {
        let (area, below) = rest.split_vertically(picture.height());
        match picture {
            Picture::Plot(plot) => draw_lines(&area, plot)?,
            Picture::Bars(bars) => draw_bars(&area, bars)?,
        }
        rest = below;
    }
    rest.present()?;
    Ok(())
}

fn draw_bars(area: &Area, bars: &Bars) -> Result<(), Box<dyn Error>> {
    let ratios = || bars.groups.iter().flat_map(|(_, bars)| bars).map(|(_, ratio)| *ratio);
    let (least, most) = (ratios().fold(1.0, f64::min), ratios().fold(1.0, f64::max));
    let rows = bars.rows() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(&bars.title, (FONT, 18))
        .margin(12)
        .x_label_area_size(25)
        .build_cartesian_2d((least / 2.0..most * 10.0).log_scale(), rows..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .bold_line_style(BLACK.mix(0.12))
        .label_style((FONT, 13))
        .x_label_formatter(&|value| label(*value))
        .draw()?;
    let mut row = 0.0;
    for (group, bars) in &bars.groups {
        let text = Text::new(group.clone(), (1.0, row + 0.15), (FONT, 14).into_font());
        chart.draw_series([text])?;
        row += 1.0;
        for ((name, ratio), colour) in bars.iter().zip(COLOURS) {
            let corners = [(ratio.min(1.0), row + 0.1), (ratio.max(1.0), row + 0.9)];
            chart.draw_series([Rectangle::new(corners, colour.mix(0.8).filled())])?;
            let text = format!(" {name} {ratio:.1}");
            let at = (ratio.max(1.0), row + 0.15);
            chart.draw_series([Text::new(text, at, (FONT, 12).into_font())])?;
            row += 1.0;
        }
    }
    Ok(())
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn draw_lines(area: &Area, plot: &Plot) -> Result<(), Box<dyn Error>> {
    let points = || plot.lines.iter().flat_map(|line| &line.points);
    let max_x = points().map(|point| point.0).fold(1.0, f64::max);
    let max_y = points().map(|point| point.1).fold(1.0, f64::max) * 1.35;
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(&plot.title, (FONT, 18))
        .margin(12)
        .margin_right(40)
        .x_label_area_size(40)
        .y_label_area_size(70);
    // The two kinds of axes are two types.
    macro_rules! finish {
        ($chart:expr) => {{
            let mut chart = $chart;
            chart
                .configure_mesh()
                .x_desc(&plot.x)
                .y_desc(&plot.y)
                .label_style((FONT, 13))
                .light_line_style(TRANSPARENT)
                .bold_line_style(BLACK.mix(0.12))
                .x_label_formatter(&|value| label(*value))
                .y_label_formatter(&|value| label(*value))
                .draw()?;
            for (line, colour) in plot.lines.iter().zip(COLOURS) {
                chart
                    .draw_series(LineSeries::new(
                        line.points.iter().copied(),
                        colour.stroke_width(2),
                    ))?
                    .label(&line.name)
                    .legend(move |(x, y)| {
                        PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2))
                    });
            }
            chart
                .configure_series_labels()
                .position(SeriesLabelPosition::UpperLeft)
                .label_font((FONT, 13))
                .background_style(WHITE.mix(0.85))
                .border_style(BLACK.mix(0.2))
                .draw()?;
        }};
    }
    match plot.scale {
        Scale::Linear => finish!(builder.build_cartesian_2d(0.0..max_x, 0.0..max_y)?),
        Scale::Logarithmic => {
            let min_x = points().map(|point| point.0).fold(max_x, f64::min);
            let start_y = logarithmic_start(points().map(|point| point.1), max_y);
            finish!(builder.build_cartesian_2d(
                (min_x..max_x).log_scale(),
                (start_y..max_y * 2.0).log_scale()
            )?);
        }
    }
    Ok(())
}

/// The start of a logarithmic axis for these values: a decade below the smallest one, because a
/// line on the axis itself is hardly visible.
fn logarithmic_start(values: impl Iterator<Item = f64>, max: f64) -> f64 {
    values.filter(|value| *value > 0.0).fold(max, f64::min) / 10.0
}

fn label(value: f64) -> String {
    match value {
        value if value >= 1.0 => crate::page::thousands(value.round() as u64),
        0.0 => "0".to_owned(),
        value => format!("{value}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_line_lay_on_the_axis() {
        let start = logarithmic_start([0.0, 20.0, 4_000.0].into_iter(), 5_400.0);
        assert_eq!(start, 2.0);
    }
}
