"""Series to series: forecasts with point, quantiles and sampled paths."""
