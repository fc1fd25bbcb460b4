"""The synthetic set, as a Ray job.

ray job submit --address URL --working-dir . -- python -m jobs.distill CONFIG --storage SHARED
"""

from padray.commandline.job import main

if __name__ == "__main__":
    main("distill")
