"""Published intrinsics of real cameras, in pixels, with their source."""

from typing import NamedTuple

import numpy as np


class Camera(NamedTuple):
    """Pinhole intrinsics of one camera: focal lengths, principal point, image size."""

    name: str
    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    source: str

    def matrix(self) -> np.ndarray:
        """The intrinsic matrix K (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])


_KITTI = "Geiger et al., Vision meets Robotics: The KITTI Dataset, IJRR 2013; cvlibs.net/datasets/kitti"
_KITTI_ODOMETRY = f"{_KITTI}: odometry, calib.txt, P0 of sequence"
_KITTI_RAW = f"{_KITTI}: raw data 2011_09_26, calib_cam_to_cam.txt"
_TUM = (
    "Sturm et al., A Benchmark for the Evaluation of RGB-D SLAM Systems, IROS 2012; "
    "cvg.cit.tum.de/data/datasets/rgbd-dataset/file_formats"
)
_EUROC = "Burri et al., The EuRoC micro aerial vehicle datasets, IJRR 2016; sensor.yaml of"
_NYU = "Silberman et al., Indoor Segmentation and Support Inference, ECCV 2012; toolbox, camera_params.m"
_NUSCENES = "Caesar et al., nuScenes, CVPR 2020; v1.0, calibrated_sensor.json, scene-0061"
_MLX = "github.com/ml-explore/mlx/issues/1238; image size not given there: twice the principal point"

CAMERAS = (
    Camera("KITTI odometry 00", 718.856, 718.856, 607.1928, 185.2157, 1241, 376, f"{_KITTI_ODOMETRY} 00"),
    Camera("KITTI odometry 04", 707.0912, 707.0912, 601.8873, 183.1104, 1226, 370, f"{_KITTI_ODOMETRY} 04"),
    Camera("KITTI raw 00", 984.2439, 980.8141, 690.0, 233.1966, 1392, 512, f"{_KITTI_RAW}, K_00"),
    Camera("KITTI raw 01", 989.5267, 987.8386, 702.0, 245.5590, 1392, 512, f"{_KITTI_RAW}, K_01"),
    Camera("KITTI raw 02", 959.7910, 956.9251, 696.0217, 224.1806, 1392, 512, f"{_KITTI_RAW}, K_02"),
    Camera("KITTI raw 03", 903.7596, 901.9653, 695.7519, 224.2509, 1392, 512, f"{_KITTI_RAW}, K_03"),
    Camera("TUM RGB-D fr1", 517.3, 516.5, 318.6, 255.3, 640, 480, f"{_TUM}: Freiburg 1 RGB"),
    Camera("TUM RGB-D fr2", 520.9, 521.0, 325.1, 249.7, 640, 480, f"{_TUM}: Freiburg 2 RGB"),
    Camera("TUM RGB-D fr3", 535.4, 539.2, 320.1, 247.6, 640, 480, f"{_TUM}: Freiburg 3 RGB"),
    Camera("Kinect ROS default", 525.0, 525.0, 319.5, 239.5, 640, 480, f"{_TUM}: ROS default"),
    Camera("EuRoC MAV cam0", 458.654, 457.296, 367.215, 248.375, 752, 480, f"{_EUROC} cam0"),
    Camera("EuRoC MAV cam1", 457.587, 456.134, 379.999, 255.238, 752, 480, f"{_EUROC} cam1"),
    Camera("NYU Depth v2 RGB", 518.857901, 519.469611, 325.582449, 253.736166, 640, 480, f"{_NYU}: rgb"),
    Camera("NYU Depth v2 depth", 582.624482, 582.691033, 313.044759, 238.443896, 640, 480, f"{_NYU}: d"),
    Camera("nuScenes front", 1266.417203, 1266.417203, 816.267020, 491.507066, 1600, 900, _NUSCENES),
    Camera("MLX issue 1238", 1162.38, 1156.83, 618.25, 410.75, 1236, 822, _MLX),
)
