"""The lens: from directions in the sky to pixels and back, and how the camera is mounted.

Pixel centres have whole coordinates, (0, 0) is the top left one. What comes through the lens is `light`'s.
"""

import math

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

PIXEL_PITCH_M = 2.9e-6
_CIRCLE_FROM_DEG = 120.0  # a fisheye wider than this draws a circle on the sensor; others fill the frame


class Lens:
    """An equidistant fisheye with a cubic distortion: r = R (t + d t³) / (1 + d), t = angle from the axis / half the field.

    Beyond t = 1 (the corners of a narrow lens) it goes on straight. `field_of_view_deg` is the angle across the sensor's
    height (2R); d = -0.1 is near an equisolid lens, 0 ideal. `azimuth_deg` is the compass direction the axis points to; at the
    zenith (`altitude_deg` 90) the one at the top of the picture.
    """

    def __init__(
        self, width: int, height: int, field_of_view_deg: float, distortion: float, azimuth_deg: float, altitude_deg: float, f_number: float
    ) -> None:
        self.width, self.height = width, height
        self.centre_x, self.centre_y = (width - 1) / 2, (height - 1) / 2
        self.half_field = math.radians(field_of_view_deg) / 2
        self.radius_px = height / 2
        self.distortion = distortion
        self.circle_px = self.radius_px if field_of_view_deg >= _CIRCLE_FROM_DEG else math.inf
        corner = 1 + max(math.hypot(width, height) / height - 1, 0.0) * (1 + distortion) / (1 + 3 * distortion)  # in half fields
        farthest = self.half_field * (1.02 if math.isfinite(self.circle_px) else corner)
        angles = np.linspace(0.0, min(farthest, math.pi), 4096)
        self._angles, self._radii = angles, self._radius(angles)
        self._dim_from_px = min(self.circle_px, math.hypot(width, height) / 2)
        self.focal_px = self.radius_px / self.half_field / (1 + distortion)  # on the axis
        self.aperture_cm2 = math.pi / 4 * (self.focal_px * PIXEL_PITCH_M * 100 / f_number) ** 2
        self.to_camera = self._mounting(math.radians(azimuth_deg), math.radians(altitude_deg))

    def _radius(self, angle: Array) -> Array:
        t = angle / self.half_field
        inner = np.minimum(t, 1.0)
        return self.radius_px * (inner + self.distortion * inner**3 + (t - inner) * (1 + 3 * self.distortion)) / (1 + self.distortion)

    @staticmethod
    def _mounting(azimuth: float, altitude: float) -> Array:
        """(3, 3) from east, north, up to the picture's right, up, and the axis."""
        towards = np.array([math.sin(azimuth), math.cos(azimuth), 0.0])
        if altitude > math.radians(89.99):
            axis, up = np.array([0.0, 0.0, 1.0]), towards
        else:
            zenith = np.array([0.0, 0.0, 1.0])
            axis = towards * math.cos(altitude) + zenith * math.sin(altitude)
            up = zenith * math.cos(altitude) - towards * math.sin(altitude)
        return np.stack([np.cross(axis, up), up, axis])

    def project(self, local: Array) -> tuple[Array, Array, npt.NDArray[np.bool_]]:
        """x, y and visibility (N,) of local unit vectors (N, 3); where not visible, x and y mean nothing."""
        right, up, axis = self.to_camera @ local.T
        across = np.hypot(right, up)
        angle = np.arctan2(across, axis)
        radius = np.interp(angle, self._angles, self._radii)
        scale = radius / np.maximum(across, 1e-12)
        x, y = self.centre_x + right * scale, self.centre_y - up * scale
        inside = (x > -0.5) & (x < self.width - 0.5) & (y > -0.5) & (y < self.height - 0.5)
        return x, y, inside & (angle <= self._angles[-1]) & (radius < self.circle_px)

    def unproject(self, x: Array, y: Array) -> Array:
        """Local unit vectors (..., 3) of picture coordinates; beyond the lens's reach, the last direction it reaches."""
        dx, dy = x - self.centre_x, self.centre_y - y
        radius = np.hypot(dx, dy)
        angle = np.interp(radius, self._radii, self._angles)
        across = np.sin(angle) / np.maximum(radius, 1e-12)
        camera = np.stack([dx * across, dy * across, np.cos(angle)], axis=-1)
        return camera @ self.to_camera

    def light_grasp(self, x: Array, y: Array) -> Array:
        """Solid angle of the pixel at x, y in square arcseconds, times `vignetting`."""
        angle = np.maximum(np.interp(np.hypot(x - self.centre_x, y - self.centre_y), self._radii, self._angles), 1e-4)
        t = np.minimum(angle / self.half_field, 1.0)
        slope = self.radius_px / self.half_field * (1 + 3 * self.distortion * t**2) / (1 + self.distortion)
        return np.sin(angle) / (self._radius(angle) * slope) * (180 * 3600 / math.pi) ** 2 * self.vignetting(x, y)

    def vignetting(self, x: Array, y: Array) -> Array:
        """Share of the light that reaches x, y: a quarter is lost at the edge of the circle, or in the corners."""
        share = np.hypot(x - self.centre_x, y - self.centre_y) / self._dim_from_px
        return 1 - 0.25 * np.minimum(share, 1.0) ** 4
