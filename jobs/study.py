"""A table of a paper beside ours, as a Ray job.

ray job submit --address URL --working-dir . -- python -m jobs.study search_spaces/study_table3b.yaml --storage SHARED
"""

from padray.commandline.job import main

if __name__ == "__main__":
    main("study")
