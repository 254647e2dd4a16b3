"""Head pose: where a head in a crop points, as yaw, pitch and roll in degrees."""
