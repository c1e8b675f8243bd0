"""From encoded pictures to tensors: decoding, cropping, augmentation."""
