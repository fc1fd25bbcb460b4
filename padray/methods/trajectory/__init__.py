"""Trajectory matching (MTT, TESLA, FTD, ATT, DATM, PAD, IADD): a student's steps on the set, matched with an expert's.

Notation, here and in every module of this folder; a suffix gives a tensor's axes:

    theta_P         the student's parameters (P,); theta_0 is the start snapshot, theta_N where the student ends
                    (ATT's theta_i*)
    target_P        the expert's snapshot that theta_N is compared with
    g_i             the gradient of step i's loss for theta_i; theta_{i+1} = theta_i - lr * g_i
    lambda_P        dL/dtheta_i, carried back by the adjoint
    grad_x          dL/dx of the matching loss L: grad_theta (at theta_N), grad_images, grad_labels, grad_lr and
                    grad_weights
    weights (P,)    IADD's, of the parameters; values (G,) is what descends, G groups of parameters that share a weight
    mask (P,)       what is compared: FIEM's selection and pruning
    M, K, B, L      synthetic samples, classes, samples of a step, parameter tensors
"""
