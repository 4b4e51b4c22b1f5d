"""Networks on point clouds to compare with: PointNet, DeepSets, Point Transformer and the Point Completion Network."""
