"""Local AWS: moto as the control plane, with real processes behind what moto only records."""
