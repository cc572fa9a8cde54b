"""SegHGAN: facial expression editing by a segmentation network and a hierarchical GAN trained together."""

__version__ = "0.2.0"
