"""What every paper needs and no paper owns: presets, studies, claims, statistics, sweeps, data, plotting style."""
